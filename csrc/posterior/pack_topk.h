// The k highest of each row of logits, normalised over the whole row, as packed bytes (format.h).
#pragma once

#include <cstdint>

#include "base/span.h"
#include "posterior/format.h"
#include "posterior/select_topk.h"

namespace pyasr {

// logits (N, S), rows `stride` elements apart; packed (N, row_bytes). Of equal logits the lower id comes first.
// Memory is read once (select_topk.isa.cc). Sums are float32 within 4096 logits, of 32 interleaved parts, and float64
// across them; the result depends neither on num_threads nor on the instruction set.
// Throws std::invalid_argument naming the lowest row that holds NaN or +inf, or nothing but -inf.
void PackTopk(MatrixView<const float> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads);
void PackTopk(MatrixView<const Bf16> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads);

}  // namespace pyasr
