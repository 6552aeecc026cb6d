// Messages of several workers, added to one array.
//
// Bound: the lines of `out` that are touched. The words of one message lie 1 / density elements apart, so at 1e-3 each
// is a cache miss of its own, and the messages share one line in ten: what counts is to have many misses under way.
// At 1e-2 they share most lines. So all messages go through one block of `out` after the other, a block being as many
// elements as about 8192 words fall into: the lines that they touch stay in the L2 cache, and a message's part of a
// block is long enough for the misses to be asked for ahead. (2 threads, 8 messages of 24 M: 512 words take six times
// as long at 1e-2; from 4096 to 32768 no difference stands out of the noise.) At 1e-2 that is the time of reading and
// writing all of `out` once.
#pragma once

#include <cstdint>
#include <vector>

#include "base/span.h"

namespace pyasr {

// out[index] += step or -= step for each word of each message (words.h). An element receives the messages in their
// order, so the result does not depend on num_threads.
// Throws std::invalid_argument naming the lowest message with a word that CheckGtcWords refuses, before anything is
// added.
void GtcDecodeAdd(const std::vector<Span<const int32_t>>& messages, float step, Span<float> out, int num_threads);

}  // namespace pyasr
