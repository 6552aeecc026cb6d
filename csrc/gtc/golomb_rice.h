// Words (words.h) with their gaps in Golomb-Rice code: about log2(1 / density) + 2.5 bits each, signs included.
//
//   [n: 4 bytes][count: 4 bytes][k: 1 byte]                       little-endian
//   [low bits: count fields of k + 1 bits]                        from the lowest bit of the first byte up
//   [quotients: for each word as many 0 bits as its quotient has units, then a 1]   likewise
//
// The gap of a word is the number of elements between its index and that of the word before (the first word: before
// it). Its quotient is gap >> k; its field is (gap mod 2^k) << 1 | (1 if +tau). Unused high bits of the last byte of
// each part are 0, and the last byte of the quotients holds the last 1. So there is one encoding of a message, and
// a decoder can tell any that is damaged in its structure; a changed sign or gap that stays within n it cannot.
//
// k is a function of n and count: the Rice parameter that is best for independent positions of density p = count / n.
// Their gaps are geometric, a word takes k + 2 + 1 / (e^(2^k p) - 1) bits, and k + 1 is better than k while
// e^(2^k p) is less than the golden ratio. That costs 0.03 to 0.13 bits more than the entropy of gap and sign, which is
// log2(1 / p) + 2.44. (Elias-Fano code, whose fields hold low bits of the index itself, needs 0.45 bits more.)
//
// Fields and quotients stand apart because it is fast: neither waits for the other, the quotients are read by
// walking over the ones of 64 bits at a time, and no quotient is too long.
#pragma once

#include <cstdint>

#include "base/span.h"

namespace pyasr {

constexpr int64_t kGtcHeaderBytes = 9;

struct GtcHeader {
  int64_t n = 0;
  int64_t count = 0;
  int k = 0;

  int64_t low_bytes() const { return (count * (k + 1) + 7) / 8; }
};

// The header of a message, and its bytes. Throws std::invalid_argument as CheckGtcWords does.
GtcHeader MakeGtcHeader(Span<const int32_t> words, int64_t n);
int64_t GtcCompressedBytes(Span<const int32_t> words, const GtcHeader& header);

// Writes exactly GtcCompressedBytes bytes.
void GtcCompress(Span<const int32_t> words, const GtcHeader& header, Span<uint8_t> data);

// Throws std::invalid_argument unless the header is one that MakeGtcHeader gives and fits the number of bytes; so
// count <= 4 times the bytes.
GtcHeader ReadGtcHeader(Span<const uint8_t> data);

// words (count,). Any bytes behind the header are safe to pass; good words or std::invalid_argument come out.
void GtcDecompress(Span<const uint8_t> data, const GtcHeader& header, Span<int32_t> words);

}  // namespace pyasr
