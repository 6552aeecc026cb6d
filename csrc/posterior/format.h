// Rows of packed posteriors: the k highest of S log-probabilities of a frame, and the mass of all others.
//
//   [ids: k numbers of id_bits each, lowest bit first; unused high bits of the last byte are 0]
//   [tail: one byte c]  [gaps: k - 1 bytes d_2 .. d_k]
//
// id_bits is 12 up to S = 4096 and the bits of S - 1 above, so a row of k = 20 takes 30 + 20 = 50 bytes. Ids stand in
// descending order of their probability. Values are not coded one by one: rounding each of them to 8 bits makes the
// sum of the k exceed 1 in many rows (more than half of peaked ones, see pyasr/ops/topk.py). Coded are
//
//   the tail t = 1 - (p_1 + .. + p_k) as  t_c = v^2 / (v^2 + (512 - v)^2),  v = 2 c + 1
//       (even steps of the square root against that of the rest: about even steps of information;
//       2^-18 < t < 1 - 2^-18)
//   the ratio of neighbours p_i / p_{i-1} as  r_d = ((256 - d) / 256)^4
//       (gaps of 0 to 22.2 nats, steps of 0.016 nats at 0)
//
// and the highest follows:  p_1 = (1 - t_c) / (1 + r_{d_2} + r_{d_2} r_{d_3} + ..),  p_i = p_{i-1} r_{d_i}.
// So the k sum to 1 - t_c, which rounding to float32 cannot bring to 1, whatever the bytes are. A gap is measured from
// the value that the bytes before it give, not from the exact one, so errors do not add up along a row. A gap
// beyond the last level (-inf among the logits, too) is stored as that level, and counting begins anew behind it.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/host_device.h"

namespace pyasr {

constexpr int64_t kMaxTopk = 64;
constexpr int64_t kMaxSenones = 65535;
constexpr int kLastGap = 255;
constexpr int kGapCells = 64;  // a nat

struct TopkFormat {
  int64_t k;
  int64_t num_senones;
  int id_bits;
  int64_t id_bytes;
  int64_t row_bytes;

  // Throws std::invalid_argument unless 1 <= k <= min(64, S) and S <= 65535.
  TopkFormat(int64_t k, int64_t num_senones);
};

struct TopkLevels {
  double gap[256];         // -log r_d in nats, ascending from 0
  double ratio[256];       // r_d, exact
  double gap_middle[256];  // between gap[d] and gap[d + 1]; behind the last, infinity
  double tail_odds[256];   // t_c / (1 - t_c)
  // The least code of gaps in [cell / kGapCells, (cell + 1) / kGapCells) nats. The levels lie farther apart than a cell
  // is wide, so the greatest is 1 more at most.
  uint8_t code_of_cell[kGapCells * 23];

  // The nearest level's code; of two equally near ones the lower.
  PYASR_HOST_DEVICE int GapCode(double gap_in_nats) const {
    const double inside = gap_in_nats > 0 ? (gap_in_nats < 22.5 ? gap_in_nats : 22.5) : 0;
    const int code = code_of_cell[static_cast<int>(inside * kGapCells)];
    return code + (gap_middle[code] < gap_in_nats);
  }

  // The code of the gap between two neighbours. carry: exact minus stored, what the next gap makes good; 0 at first.
  PYASR_HOST_DEVICE int NextGapCode(float left, float right, double* carry) const {
    // Both -inf: their difference is NaN, and they are equal.
    const double step = left == right ? 0.0 : static_cast<double>(left) - right;
    const double wanted = step + *carry;
    const int code = GapCode(wanted);
    *carry = code == kLastGap ? 0.0 : wanted - gap[code];
    return code;
  }

  // log p_1 from the tail's code and p_2 / p_1 + p_3 / p_1 + ..: log(1 - t) - log(1 + others), 1 - t = 1 / (1 + odds).
  PYASR_HOST_DEVICE double LogHighest(uint8_t tail_code, double others) const {
    return -::log1p(tail_odds[tail_code]) - ::log1p(others);
  }
};

// Steps of sqrt(tail) against sqrt(head).
PYASR_HOST_DEVICE inline uint8_t TailCode(double tail, double head) {
  const double a = ::sqrt(tail), b = ::sqrt(head), level = ::floor(256 * (a / (a + b)));
  return static_cast<uint8_t>(level < 255.0 ? level : 255.0);
}

const TopkLevels& Levels();

}  // namespace pyasr
