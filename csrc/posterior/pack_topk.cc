#include "posterior/pack_topk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/parallel_for.h"
#include "posterior/id_bits.h"

namespace pyasr {
namespace {

static_assert(kMaxTopk <= kMostSelected);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Rows whose gaps are coded together: in a row each code waits for the one before it; 8 such chains keep a core busy.
constexpr int64_t kRowsTogether = 8;
constexpr int64_t kLogitsPerItem = 65536;

inline float ToFloat(float x) { return x; }
inline float ToFloat(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void Select(const float* row, int64_t size, int k, const float* next, TopkSelection* selection) {
  PYASR_FOR_ISA(SelectTopk)(row, size, k, next, selection);
}
void Select(const Bf16* row, int64_t size, int k, const Bf16* next, TopkSelection* selection) {
  PYASR_FOR_ISA(SelectTopkBf16)(row, size, k, next, selection);
}

template <typename T>
[[noreturn]] void Refuse(const T* logits, int64_t size, int64_t row) {
  for (int64_t i = 0; i < size; ++i) {
    const float x = ToFloat(logits[i]);
    PYASR_CHECK(x < kInfinity, "row ", row, ": logit of senone ", i, " is ", x);
  }
  Fail("row ", row, ": all ", size, " logits are -inf");
}

// out[r] is where the gaps of row r go.
void WriteGaps(const TopkSelection* best, int64_t num_rows, int64_t k, uint8_t* const* out) {
  const TopkLevels& levels = Levels();
  double carry[kRowsTogether] = {};
  for (int64_t i = 1; i < k; ++i) {
    for (int64_t r = 0; r < num_rows; ++r) {
      out[r][i - 1] = static_cast<uint8_t>(levels.NextGapCode(best[r].logit[i - 1], best[r].logit[i], &carry[r]));
    }
  }
}

template <typename T>
void PackRows(MatrixView<const T> logits, const TopkFormat& format, int64_t begin, int64_t end,
              MatrixView<uint8_t> packed) {
  TopkSelection best[kRowsTogether];
  uint8_t* gaps[kRowsTogether];
  for (int64_t row = begin; row < end; ++row) {
    const T* x = logits.row(row);
    TopkSelection& selection = best[row - begin];
    Select(x, format.num_senones, static_cast<int>(format.k), row + 1 < logits.rows ? logits.row(row + 1) : x,
           &selection);
    if (!selection.valid) Refuse(x, format.num_senones, row);
    const double tail = format.k == format.num_senones ? 0.0 : std::max(0.0, selection.sum - selection.head);
    uint8_t* const out = packed.row(row);
    WriteIds(selection.id, format, out);
    out[format.id_bytes] = TailCode(tail, selection.head);
    gaps[row - begin] = out + format.id_bytes + 1;
  }
  WriteGaps(best, end - begin, format.k, gaps);
}

template <typename T>
void Pack(MatrixView<const T> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads) {
  PYASR_CHECK_EQ(logits.cols, format.num_senones, "columns of logits against senones");
  PYASR_CHECK_EQ(packed.rows, logits.rows, "rows of packed against rows of logits");
  PYASR_CHECK_EQ(packed.cols, format.row_bytes, "columns of packed against bytes of a row");
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  const int64_t rows_per_item = kRowsTogether * std::max<int64_t>(1, kLogitsPerItem / kRowsTogether / logits.cols);
  ParallelFor((logits.rows + rows_per_item - 1) / rows_per_item, num_threads, [&](int64_t item) {
    const int64_t end = std::min(logits.rows, (item + 1) * rows_per_item);
    for (int64_t row = item * rows_per_item; row < end; row += kRowsTogether) {
      PackRows(logits, format, row, std::min(end, row + kRowsTogether), packed);
    }
  });
}

}  // namespace

void PackTopk(MatrixView<const float> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads) {
  Pack(logits, format, packed, num_threads);
}

void PackTopk(MatrixView<const Bf16> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads) {
  Pack(logits, format, packed, num_threads);
}

}  // namespace pyasr
