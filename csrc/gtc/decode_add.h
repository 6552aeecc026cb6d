// Messages of several workers, added to one array.
//
// Bound: the lines of `out` that are touched, each read and written back: 128 bytes. The words of one message lie
// 1 / density elements apart, so at 1e-3 each is a cache miss of its own, and the messages share one line in ten. At
// the bandwidth of out += 1, 56 GB/s on 2 cores of Zen 4, that is 440 M words/s. To get near it, many misses have to be
// under way, which a core has into its second-level cache rather than into the first: AddGtcWords asks for lines there.
// (Of 24 M elements, 8 messages of 1e-3: 0.77 ms asking for lines in the first, 0.46 ms in the second, 64 words ahead;
// 48 and 96 take a tenth longer. At 1e-2 5.8 and 3.6 ms, where out += 1 takes 3.3.)
//
// At 1e-2 the messages share most lines. So all messages go through one block of `out` after the other, a block being
// as many elements as about 8192 words fall into: the lines that they touch stay in the L2 cache, and a message's part
// of a block is long enough for the misses to be asked for ahead. (2 threads, 8 messages of 24 M: 512 words take six
// times as long at 1e-2; from 4096 to 32768 no difference stands out of the noise.)
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
