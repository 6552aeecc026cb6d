// The k highest of each row of logits, normalised over the whole row, as packed bytes (format.h).
#pragma once

#include <cstdint>

#include "base/span.h"
#include "posterior/format.h"

namespace pyasr {

// The upper half of a float32.
struct Bf16 {
  uint16_t bits;
};

// logits (N, S), rows `stride` elements apart; packed (N, row_bytes). Of equal logits the lower id comes first.
// One pass over each row: running maximum and sum of exp(x - maximum), the k best so far. Sums are float32 within 128
// logits and float64 across them; the result does not depend on num_threads.
// Throws std::invalid_argument naming the lowest row that holds NaN or +inf, or nothing but -inf.
void PackTopk(MatrixView<const float> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads);
void PackTopk(MatrixView<const Bf16> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads);

}  // namespace pyasr
