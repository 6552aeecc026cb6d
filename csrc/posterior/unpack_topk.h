// Packed posteriors (format.h) as ids and log-probabilities.
#pragma once

#include <cstdint>

#include "base/span.h"
#include "posterior/format.h"

namespace pyasr {

// packed (N, row_bytes) -> ids (N, k), distinct in a row, and logp (N, k), natural log, descending and finite; their
// exponentials sum to less than 1. Computed in float64, rounded once. Any bytes are safe to pass.
// Throws std::invalid_argument naming the lowest row with an id >= S, an id that comes twice, or a padding bit set.
void UnpackTopk(MatrixView<const uint8_t> packed, const TopkFormat& format, MatrixView<int32_t> ids,
                MatrixView<float> logp, int num_threads);

}  // namespace pyasr
