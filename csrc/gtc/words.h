// Words of gradient threshold compression (Strom 2015): which weights move by the threshold tau, and up or down.
//
//   word = (index << 1) | (1 if +tau, 0 if -tau),  0 <= index < n <= 2^30, so a word fits an int32
//
// A message is an array of words whose indices ascend strictly: each weight moves at most once.
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "base/span.h"

namespace pyasr {

constexpr int64_t kMaxGtcSize = int64_t{1} << 30;

PYASR_HOST_DEVICE inline int32_t GtcIndex(int32_t word) { return word >> 1; }

// Throws std::invalid_argument unless 0 <= n <= 2^30.
void CheckGtcSize(int64_t n);

// Throws std::invalid_argument naming the first word whose index is outside [0, n) or not above the one before it.
void CheckGtcWords(Span<const int32_t> words, int64_t n);

// out[index] += step or -= step, for words that are known to be good. Misses of the cache are asked for ahead.
void AddGtcWords(Span<const int32_t> words, float step, float* out);

}  // namespace pyasr
