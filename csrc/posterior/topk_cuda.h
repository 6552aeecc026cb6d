// Packing and unpacking of posteriors on a GPU: the bytes of pack_topk.h, but that sums are added in another order, so
// a tail that lies on the border of two codes may get the other one.
//
// Bound: reading the logits once. A warp copies a row, or a piece of some 4000 logits of a longer one, into shared
// memory, and the next as soon as it has done with them. The maxima of 128 groups give a threshold (select_topk.isa.cc
// explains it), and a second look at the logits the sum and the few above. What is serial in a row, the codes of its
// tail and gaps, waits until up to 32 rows are done: then each lane codes a row.
#pragma once

#include <cstdint>

#include "base/cuda.h"
#include "posterior/format.h"
#include "posterior/select_topk.h"

namespace pyasr {

// A row of this byte alone is what PackTopkCuda leaves where PackTopk refuses one; no unpacker takes it.
constexpr uint8_t kRefusedRow = 0xff;

// logits (N, S), rows `stride` elements apart, aligned to their size; packed (N, row_bytes), contiguous. levels: a copy
// of Levels() on the device.
void PackTopkCuda(const float* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
                  uint8_t* packed, CudaStream stream);
void PackTopkCuda(const Bf16* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
                  uint8_t* packed, CudaStream stream);

// packed (N, row_bytes), rows `stride` bytes apart, to ids and logp (N, k). A row that UnpackTopk refuses gets ids of
// -1 and log-probabilities of NaN.
void UnpackTopkCuda(const uint8_t* packed, int64_t stride, int64_t rows, const TopkFormat& format,
                    const TopkLevels* levels, int32_t* ids, float* logp, CudaStream stream);

}  // namespace pyasr
