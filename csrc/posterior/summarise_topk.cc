#include "posterior/summarise_topk.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "posterior/id_bits.h"

namespace pyasr {

TopkSummary SummariseTopk(MatrixView<const uint8_t> packed, const TopkFormat& format) {
  PYASR_CHECK_EQ(packed.cols, format.row_bytes, "bytes of a packed row against those of its format");
  const TopkLevels& levels = Levels();
  int32_t ids[kMaxTopk];
  TopkSummary sum;
  for (int64_t row = 0; row < packed.rows; ++row) {
    ReadCheckedIds(packed.row(row), format, row, ids);
    const uint8_t* const in = packed.row(row) + format.id_bytes;
    // Of p_i = p_1 r_i with r_i = exp(-below_i): the sum of the r_i, and of r_i below_i.
    double ratio = 1, below = 0, ratios = 1, weighted = 0;
    for (int64_t i = 1; i < format.k; ++i) {
      ratio *= levels.ratio[in[i]];
      below += levels.gap[in[i]];
      ratios += ratio;
      weighted += ratio * below;
    }
    const double kept = 1 / (1 + levels.tail_odds[in[0]]), tail = 1 - kept;
    const double highest = kept / ratios;
    sum.max_posterior += highest;
    // - sum p_i log p_i, where log p_i = log p_1 - below_i
    sum.entropy += highest * weighted - kept * std::log(highest) - tail * std::log(tail);
    sum.kept += kept;
  }
  const double rows = static_cast<double>(std::max<int64_t>(1, packed.rows));
  return {sum.max_posterior / rows, sum.entropy / rows, sum.kept / rows};
}

}  // namespace pyasr
