#include "base/simd.h"
#include "hmm/lattice_passes.h"

namespace pyasr {
namespace PYASR_ISA {
namespace {

// 0 in numbers of the form m 2^k: far below any k that occurs, and sums of 2^31 of these do not overflow.
constexpr int32_t kExponentOfZero = -(1 << 30);
constexpr int64_t kExponentOfNothing = -(int64_t{1} << 62);  // of an empty sum: below those, too

// 2^n for n <= 0; 0 below the normal numbers.
PYASR_INLINE double PowerOfTwo(int64_t n) {
  n = n < -1023 ? -1023 : n;
  const int64_t bits = (n + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return power;
}

// exp(v) = mantissa * 2^exponent, v within +-2^20 log 2.
PYASR_INLINE void SplitExp(F64 v, double* mantissa, int32_t* exponent) {
  const F64 magic = Fill(6755399441055744.0);  // 1.5 * 2^52: what is added to it is rounded to a whole number
  const F64 k = Fma(v, Fill(1.4426950408889634), magic) - magic;
  // log 2 in two parts, the first exact times k up to 2^20.
  F64 rest = Fma(k, Fill(-6.93147180369123816490e-01), v);
  rest = Fma(k, Fill(-1.90821492927058770002e-10), rest);
  // Taylor's, |rest| <= log(2) / 2: what is left out is below 1e-17.
  F64 p = Fill(1.0 / 6227020800);
  p = Fma(p, rest, Fill(1.0 / 479001600));
  p = Fma(p, rest, Fill(1.0 / 39916800));
  p = Fma(p, rest, Fill(1.0 / 3628800));
  p = Fma(p, rest, Fill(1.0 / 362880));
  p = Fma(p, rest, Fill(1.0 / 40320));
  p = Fma(p, rest, Fill(1.0 / 5040));
  p = Fma(p, rest, Fill(1.0 / 720));
  p = Fma(p, rest, Fill(1.0 / 120));
  p = Fma(p, rest, Fill(1.0 / 24));
  p = Fma(p, rest, Fill(1.0 / 6));
  p = Fma(p, rest, Fill(0.5));
  p = Fma(p, rest, Fill(1.0));
  p = Fma(p, rest, Fill(1.0));
  Store(mantissa, p);
  Store(exponent, ToInt32(k));
}

// From the sums over the arcs into a state, both in units of 2^exponent, to alpha and V.
PYASR_INLINE void Finish(LatticeState* state) {
  if (!(state->mass > 0)) return;
  state->value /= state->mass;
  int64_t bits;
  std::memcpy(&bits, &state->mass, sizeof bits);
  const int64_t exponent = (bits >> 52) - 1023;
  state->exponent += exponent;
  bits -= exponent * (int64_t{1} << 52);  // a negative number must not be shifted
  std::memcpy(&state->mass, &bits, sizeof bits);
}

}  // namespace

int64_t WeighArcs(const Lattice& lattice, MatrixView<const float> loglikes, double scale, double max_score,
                  ArcWeights weights) {
  double score[kExpBlock];
  for (int64_t first = 0; first < lattice.arc_src.size; first += kExpBlock) {
    const int64_t left = lattice.arc_src.size - first, size = left < kExpBlock ? left : kExpBlock;
    double* mantissa = weights.mantissa + first;
    int32_t* exponent = weights.exponent + first;
    int32_t outside = 0;
    for (int64_t i = 0; i < size; ++i) {
      const int64_t a = first + i;
      const int32_t senone = lattice.arc_senone[a];
      const double loglike = senone == kNoSenone ? 0.0 : loglikes.row(lattice.arc_time[a])[senone];
      score[i] = scale * loglike - lattice.arc_cost[a];
      outside |= !(score[i] >= -max_score && score[i] <= max_score);
    }
    for (int64_t i = size; i < kExpBlock; ++i) score[i] = 0;
    for (int64_t i = 0; i < kExpBlock; i += kLanes64) SplitExp(Load(score + i), mantissa + i, exponent + i);
    if (!outside) continue;
    for (int64_t i = 0; i < size; ++i) {
      if (score[i] >= -max_score && score[i] <= max_score) continue;
      if (!(score[i] == -__builtin_inf())) return first + i;
      mantissa[i] = 0;
      exponent[i] = kExponentOfZero;
    }
  }
  return -1;
}

void ForwardPass(const Lattice& lattice, ArcWeights weights, const float* values, LatticeState* states) {
  const int64_t num_arcs = lattice.arc_src.size;
  states[0] = {1.0, 0.0, 0};
  for (int64_t s = 1; s < lattice.final_cost.size; ++s) states[s] = {0.0, 0.0, kExponentOfNothing};
  int64_t a = 0;
  for (int64_t s = 0; s < lattice.final_cost.size; ++s) {
    Finish(&states[s]);  // in topological order, so all arcs into it have been passed
    const LatticeState from = states[s];
    for (; a < num_arcs && lattice.arc_src[a] == s; ++a) {
      LatticeState& to = states[lattice.arc_dst[a]];
      const int64_t exponent = from.exponent + weights.exponent[a];
      const int64_t highest = exponent > to.exponent ? exponent : to.exponent;
      const double keep = PowerOfTwo(to.exponent - highest);
      const double mass = from.mass * weights.mantissa[a] * PowerOfTwo(exponent - highest);
      to.mass = to.mass * keep + mass;
      to.value = to.value * keep + mass * (from.value + values[a]);
      to.exponent = highest;
    }
  }
}

void BackwardPass(const Lattice& lattice, ArcWeights weights, const float* values, double expected,
                  const double* end_posteriors, LatticeState* states, double* posteriors, double* gradient) {
  int64_t a = lattice.arc_src.size - 1;
  for (int64_t s = lattice.final_cost.size - 1; s >= 0; --s) {
    LatticeState& from = states[s];
    double gamma = end_posteriors[s], y = 0;
    for (; a >= 0 && lattice.arc_src[a] == s; --a) {
      const LatticeState& to = states[lattice.arc_dst[a]];
      // q(a), but for the division by the mass of the destination, which its numbers have had.
      const double q = from.mass * weights.mantissa[a] * PowerOfTwo(from.exponent + weights.exponent[a] - to.exponent);
      const double arc_gamma = q * to.mass;
      const double arc_y = q * to.value + arc_gamma * values[a];
      posteriors[a] = arc_gamma;
      gradient[a] = arc_gamma * (from.value - expected) + arc_y;
      gamma += arc_gamma;
      y += arc_y;
    }
    const double inverse = from.mass > 0 ? 1 / from.mass : 0.0;
    from.mass = gamma * inverse;
    from.value = y * inverse;
  }
}

}  // namespace PYASR_ISA
}  // namespace pyasr
