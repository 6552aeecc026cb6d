// Gradient threshold compression on a GPU: the results of encode.h and decode_add.h, bit for bit.
//
// Bound: memory, as on the CPU. Encoding reads 8 bytes an element and writes 4, in one pass: a block of threads takes
// the next tile of 4096 elements, counts its words, and learns where they go from the counts that the tiles before it
// have published (Merrill & Garland, "Single-pass parallel prefix scan with decoupled look-back", 2016). Tiles are
// taken in order by a ticket, so a block only waits for blocks that already run. Where most tiles hold a few words,
// what is left beside the copy is one chain of published counts, 32 tiles a look.
#pragma once

#include <cstdint>
#include <vector>

#include "base/cuda.h"

namespace pyasr {

// What `count` of GtcEncodeCuda says instead of a number of words, when nothing is sent.
constexpr int64_t kGtcNotFinite = -1;                // minus the index of the first sum that is not finite
constexpr int64_t kGtcNoRoom = -(int64_t{1} << 32);  // minus the number of words that would be sent

int64_t GtcEncodeScratchBytes(int64_t n);

// As GtcEncode, into words (capacity,), count (1,). What that returns or throws for sums that are not finite and for
// too little room is told by a negative count: the gradient is in the residual then, and words are undefined. scratch:
// GtcEncodeScratchBytes(n), aligned to 8 bytes. None of the arrays overlap.
void GtcEncodeCuda(const float* grad, float* residual, int64_t n, float tau, int32_t* words, int64_t capacity,
                   int64_t* count, void* scratch, CudaStream stream);

struct GtcMessage {
  const int32_t* words;
  int64_t capacity;
  const int64_t* count;  // on the device, at most capacity; a negative one (see above) is 0. Null: capacity
};

// What `status` of GtcDecodeAddCuda says where all messages are good; else message << 32 | word, the first bad one.
constexpr int64_t kGtcGood = -1;

// As GtcDecodeAdd, into out (n,); status (1,). Where a word is bad, or a count above its capacity, nothing is added.
void GtcDecodeAddCuda(const std::vector<GtcMessage>& messages, float step, float* out, int64_t n, int64_t* status,
                      CudaStream stream);

}  // namespace pyasr
