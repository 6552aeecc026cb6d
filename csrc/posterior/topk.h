// The k best posteriors of a frame in k * (id_bits + 8) bits: 50 bytes for k = 20 and up to 4,096 senones.
//
// A row is, as a stream of bits, least significant first:
//   k ids of id_bits = max(12, bits of S - 1), in descending order of probability, ties to the lower id;
//   k codes of 8 bits: of the tail, then of the k - 1 gaps between successive log-probabilities;
//   zeros up to a whole byte.
//
// With p_1 >= ... >= p_k normalised over all S senones and tau = 1 - sum p_i:
//   tail   log(tau / (1 - tau)), uniform from kTailLow to kTailHigh
//   gap i  log p_i - log p_(i + 1) as GapValue(code) = kGapScale (exp(kGapStep code) - 1), fine where small; each
//          is chosen for the sum of the gaps so far, so that errors do not add up
// The largest is derived: log p_1 = log(1 - tau) - log sum_i exp(-(sum of the gaps before i)). So the sum of the
// unpacked probabilities is 1 - tau, below 1 whatever the codes are. (kTailLow leaves room for the rounding
// of float32.) Smallest and largest gap are far beyond what matters: exp(-40).
#pragma once

#include <cstdint>

#include "base/span.h"

namespace pyasr {

constexpr int kMaxKept = 64;
constexpr int kMaxSenones = 65535;
constexpr double kTailLow = -14.0;
constexpr double kTailHigh = 12.0;
constexpr double kGapScale = 0.5;
constexpr double kGapStep = 0.01723302;  // log(81) / 255: the largest gap is 40

// Bytes of a row; throws for k or num_senones out of range.
int64_t PackedRowBytes(int k, int64_t num_senones);

// Packs the rows of logits (N, S), which need not be normalised, into packed (N, row bytes).
// Throws std::invalid_argument naming the row of a NaN or +infinity, and of a row that is all -infinity.
void PackTopk(MatrixView<const float> logits, int k, MatrixView<uint8_t> packed, int num_threads);

// Unpacks rows into ids (N, k) and natural log-probabilities logp (N, k), descending.
// Throws std::invalid_argument naming the row of an id that is not below num_senones.
void UnpackTopk(MatrixView<const uint8_t> packed, int64_t num_senones, MatrixView<int32_t> ids,
                MatrixView<float> logp);

}  // namespace pyasr
