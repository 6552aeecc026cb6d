#include "posterior/unpack_topk.h"

#include <algorithm>

#include "base/check.h"
#include "base/parallel_for.h"
#include "posterior/id_bits.h"

namespace pyasr {
namespace {

constexpr int64_t kRowsPerItem = 256;

void ReadLogp(const uint8_t* in, int64_t k, float* logp) {
  const TopkLevels& levels = Levels();
  double below[kMaxTopk];  // log p_1 - log p_i
  double ratio = 1, others = 0;
  below[0] = 0;
  for (int64_t i = 1; i < k; ++i) {
    below[i] = below[i - 1] + levels.gap[in[i]];
    ratio *= levels.ratio[in[i]];
    others += ratio;
  }
  const double highest = levels.LogHighest(in[0], others);
  for (int64_t i = 0; i < k; ++i) logp[i] = static_cast<float>(highest - below[i]);
}

}  // namespace

void UnpackTopk(MatrixView<const uint8_t> packed, const TopkFormat& format, MatrixView<int32_t> ids,
                MatrixView<float> logp, int num_threads) {
  PYASR_CHECK_EQ(packed.cols, format.row_bytes, "bytes of a packed row against those of its format");
  PYASR_CHECK(ids.rows == packed.rows && logp.rows == packed.rows, "rows of the results: ", ids.rows, " and ",
              logp.rows, " are not ", packed.rows);
  PYASR_CHECK(ids.cols == format.k && logp.cols == format.k, "columns of the results: ", ids.cols, " and ", logp.cols,
              " are not ", format.k);
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  ParallelFor((packed.rows + kRowsPerItem - 1) / kRowsPerItem, num_threads, [&](int64_t item) {
    const int64_t end = std::min(packed.rows, (item + 1) * kRowsPerItem);
    for (int64_t row = item * kRowsPerItem; row < end; ++row) {
      ReadCheckedIds(packed.row(row), format, row, ids.row(row));
      ReadLogp(packed.row(row) + format.id_bytes, format.k, logp.row(row));
    }
  });
}

}  // namespace pyasr
