// Gradient threshold compression on a GPU: the results of encode.h and decode_add.h, bit for bit.
//
// Bound: memory, as on the CPU. Encoding reads 8 bytes an element and writes 4. Where a word goes depends on the words
// of all elements before its own, so encoding has two launches, of which the first does not ask: Encode streams
// gradient and residual, and leaves two bits an element, whose ones are the words, and a number of words for each
// 4096 elements. Place sums these numbers up to its part of the bits, and writes the words. That is a quarter of a byte
// an element, written and, mostly from the L2 cache, read again: 4 % of the 12 at most. In return no block waits for
// another, no atomics are needed, and scratch need not be cleared: each call writes all that it reads. (One launch with
// decoupled look-back took 145 us for 24 M elements on an H100, where a copy of as many bytes takes 99: about as long
// as its chain of 5900 counts, 32 a look, each look waiting for the L2 cache.)
//
// Adding messages is bound by the pieces of `out` that are touched, 64 bytes each, read and written; the words are few.
// To have many of these misses under way, messages do not wait for each other: a block of threads takes 8192 elements,
// all words leave marks of their messages there in shared memory, and then each marked element is read, gets its
// messages in their order, and is written, once. Words are found by a search at the beginning of a block's tiles.
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
// GtcEncodeScratchBytes(n), a quarter of n and a little, aligned to 16 bytes. None of the arrays overlap.
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
