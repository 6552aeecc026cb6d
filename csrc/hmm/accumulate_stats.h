// Zeroth, first and second order statistics of feature frames grouped by a key (a tree's context and
// state, a pdf, a Gaussian): the sufficient statistics of diagonal Gaussians.
#pragma once

#include <cstdint>

#include "base/span.h"

namespace pyasr {

// count[k] += w[t], sum[k, d] += w[t] x[t, d], sumsq[k, d] += w[t] x[t, d]^2 for every frame t whose key
// k = keys[t] is not -1. weights may be empty (all one). Sums are float64 and run over the frames in
// order for each column, so the result does not depend on num_threads.
// Throws std::invalid_argument for a key outside [-1, K), and for values or weights that are not finite.
void AccumulateStats(MatrixView<const float> features, Span<const int32_t> keys, Span<const float> weights,
                     Span<double> count, MatrixView<double> sum, MatrixView<double> sumsq, int num_threads);

}  // namespace pyasr
