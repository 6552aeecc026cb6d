// How sure a teacher was of the frames whose posteriors are packed (format.h).
#pragma once

#include <cstdint>

#include "base/span.h"
#include "posterior/format.h"

namespace pyasr {

// Means over the rows, 0 of none. max_posterior: of the highest probability. entropy: in nats, of the k classes and
// all others as one. kept: of the probability of the k.
struct TopkSummary {
  double max_posterior = 0;
  double entropy = 0;
  double kept = 0;
};

// Throws std::invalid_argument as UnpackTopk does: what has a summary can be unpacked.
TopkSummary SummariseTopk(MatrixView<const uint8_t> packed, const TopkFormat& format);

}  // namespace pyasr
