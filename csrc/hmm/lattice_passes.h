// The inner loops of the lattice forward-backward, see lattice_forward_backward.h for the formulas.
#pragma once

#include <cstdint>

#include "base/isa.h"
#include "base/span.h"
#include "hmm/lattice.h"

namespace pyasr {

// exp(w) of arcs = mantissa * 2^exponent. Both arrays are written in whole blocks: room for a multiple of kExpBlock.
struct ArcWeights {
  double* mantissa;
  int32_t* exponent;
};
constexpr int64_t kExpBlock = 256;

// alpha = mass * 2^exponent, with 1 <= mass < 2 or, where no path leads, 0; and V. Where BackwardPass has passed the
// state, gamma and Y, each divided by the mass that it had.
struct LatticeState {
  double mass;
  double value;
  int64_t exponent;
};

PYASR_DECLARE_ISA(
    // The weights of all arcs. Returns the first arc whose score is neither -inf nor within +-max_score, or -1.
    int64_t WeighArcs(const Lattice& lattice, MatrixView<const float> loglikes, double scale, double max_score,
                      ArcWeights weights);
    // states (n,): gets alpha and V of all of them.
    void ForwardPass(const Lattice& lattice, ArcWeights weights, const float* values, LatticeState* states);
    // states (n,): as ForwardPass left them; end_posteriors (n,): P(pi ends in s).
    // Gives gamma(a) and dE/dw(a), which may take the place of weights.mantissa.
    void BackwardPass(const Lattice& lattice, ArcWeights weights, const float* values, double expected,
                      const double* end_posteriors, LatticeState* states, double* posteriors, double* gradient);)

}  // namespace pyasr
