#include "posterior/format.h"

#include <cmath>
#include <limits>

#include "base/check.h"

namespace pyasr {
namespace {

int IdBits(int64_t num_senones) {
  int bits = 12;
  while ((int64_t{1} << bits) < num_senones) ++bits;
  return bits;
}

TopkLevels MakeLevels() {
  TopkLevels levels;
  for (int d = 0; d < 256; ++d) {
    const double root = (256 - d) / 256.0;
    levels.ratio[d] = (root * root) * (root * root);
    levels.gap[d] = -4.0 * std::log(root) + 0.0;  // + 0: no negative zero
    const double v = 2 * d + 1;
    levels.tail_odds[d] = (v * v) / ((512 - v) * (512 - v));
  }
  for (int d = 0; d < kLastGap; ++d) levels.gap_middle[d] = (levels.gap[d] + levels.gap[d + 1]) / 2;
  levels.gap_middle[kLastGap] = std::numeric_limits<double>::infinity();
  int code = 0;
  for (size_t cell = 0; cell < sizeof levels.code_of_cell; ++cell) {
    while (levels.gap_middle[code] * kGapCells < static_cast<double>(cell)) ++code;
    levels.code_of_cell[cell] = static_cast<uint8_t>(code);
  }
  return levels;
}

}  // namespace

TopkFormat::TopkFormat(int64_t k_, int64_t num_senones_) : k(k_), num_senones(num_senones_) {
  PYASR_CHECK(num_senones >= 1 && num_senones <= kMaxSenones, "number of senones is ", num_senones, ", outside 1..",
              kMaxSenones);
  PYASR_CHECK(k >= 1 && k <= kMaxTopk, "k is ", k, ", outside 1..", kMaxTopk);
  PYASR_CHECK(k <= num_senones, "k is ", k, ", more than the ", num_senones, " senones");
  id_bits = IdBits(num_senones);
  id_bytes = (k * id_bits + 7) / 8;
  row_bytes = id_bytes + k;
}

const TopkLevels& Levels() {
  static const TopkLevels levels = MakeLevels();
  return levels;
}

}  // namespace pyasr
