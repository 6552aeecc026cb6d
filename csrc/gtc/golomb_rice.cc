#include "gtc/golomb_rice.h"

#include <cstring>

#include "base/check.h"
#include "gtc/words.h"

namespace pyasr {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the parts are written as the processor holds numbers");

// The lowest k with e^(2^k count / n) >= (1 + sqrt 5) / 2, whose logarithm is 0.4812. In integers: the same on every
// machine.
int RiceParameter(int64_t n, int64_t count) {
  int k = 0;
  while (count > 0 && (count << k) * 10000 < n * 4812) ++k;
  return k;
}

uint64_t Load64(const uint8_t* p) {
  uint64_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

// Up to 8 bytes of which `size` are there, the others 0.
uint64_t LoadPart(const uint8_t* p, int64_t size) {
  if (size >= 8) return Load64(p);
  uint64_t bits = 0;
  if (size > 0) std::memcpy(&bits, p, size);
  return bits;
}

}  // namespace

GtcHeader MakeGtcHeader(Span<const int32_t> words, int64_t n) {
  CheckGtcSize(n);
  CheckGtcWords(words, n);
  return {n, words.size, RiceParameter(n, words.size)};
}

int64_t GtcCompressedBytes(Span<const int32_t> words, const GtcHeader& header) {
  int32_t units = 0;  // of all quotients: at most n
  int32_t next = 0;   // the lowest index that the word may have
  for (const int32_t word : words) {
    units += (GtcIndex(word) - next) >> header.k;
    next = GtcIndex(word) + 1;
  }
  return kGtcHeaderBytes + header.low_bytes() + (units + header.count + 7) / 8;
}

void GtcCompress(Span<const int32_t> words, const GtcHeader& header, Span<uint8_t> data) {
  const uint32_t numbers[] = {static_cast<uint32_t>(header.n), static_cast<uint32_t>(header.count)};
  std::memcpy(data.data, numbers, sizeof numbers);
  data[8] = static_cast<uint8_t>(header.k);
  uint8_t* low = data.data + kGtcHeaderBytes;
  uint8_t* const quotients = low + header.low_bytes();
  std::memset(quotients, 0, data.end() - quotients);

  const int k = header.k, width = k + 1;
  const int32_t mask = static_cast<int32_t>((int64_t{1} << k) - 1);
  uint64_t pending = 0;  // fields that are not written yet, fewer than 32 bits between words
  int pending_bits = 0;
  int64_t bit = 0;  // of the quotients
  int32_t next = 0;
  for (const int32_t word : words) {
    const int32_t gap = GtcIndex(word) - next;
    next = GtcIndex(word) + 1;
    pending |= static_cast<uint64_t>((gap & mask) << 1 | (word & 1)) << pending_bits;
    pending_bits += width;
    if (pending_bits >= 32) {
      std::memcpy(low, &pending, 4);
      low += 4;
      pending >>= 32;
      pending_bits -= 32;
    }
    bit += gap >> k;
    quotients[bit >> 3] |= static_cast<uint8_t>(1 << (bit & 7));
    ++bit;
  }
  std::memcpy(low, &pending, (pending_bits + 7) / 8);
}

GtcHeader ReadGtcHeader(Span<const uint8_t> data) {
  PYASR_CHECK(data.size >= kGtcHeaderBytes, "there are ", data.size, " bytes, fewer than a header's ", kGtcHeaderBytes);
  uint32_t numbers[2];
  std::memcpy(numbers, data.data, sizeof numbers);
  const GtcHeader header{numbers[0], numbers[1], data[8]};
  CheckGtcSize(header.n);
  PYASR_CHECK(header.count <= header.n, "there are ", header.count, " words of ", header.n, " weights");
  PYASR_CHECK_EQ(header.k, RiceParameter(header.n, header.count), "the Rice parameter against that of the sizes");
  // A 1 for each word, and at most n - count elements in the gaps, of which there are none without a word.
  const int64_t least = (header.count + 7) / 8;
  const int64_t most = header.count == 0 ? 0 : (header.count + ((header.n - header.count) >> header.k) + 7) / 8;
  const int64_t bytes = data.size - kGtcHeaderBytes - header.low_bytes();
  PYASR_CHECK(bytes >= least && bytes <= most, "there are ", data.size, " bytes; ", header.count, " words of ",
              header.n, " weights take ", data.size - bytes + least, " to ", data.size - bytes + most);
  return header;
}

void GtcDecompress(Span<const uint8_t> data, const GtcHeader& header, Span<int32_t> words) {
  PYASR_CHECK_EQ(words.size, header.count, "room for words against their count");
  const uint8_t* const low = data.data + kGtcHeaderBytes;
  const uint8_t* const quotients = low + header.low_bytes();
  if (header.count == 0) return;
  const int unused = static_cast<int>(header.low_bytes() * 8 - header.count * (header.k + 1));
  PYASR_CHECK(quotients[-1] >> (8 - unused) == 0, "bits are set behind the low bits of the last word");
  PYASR_CHECK(data[data.size - 1] != 0, "the last byte is 0");

  const int k = header.k, width = k + 1;
  const uint64_t mask = (uint64_t{1} << width) - 1;
  int64_t i = 0;         // word
  int64_t low_bit = 0;   // where its field begins
  int64_t index = -1;    // of the word before it
  int64_t next_bit = 0;  // of the quotients: behind the 1 of the word before it
  for (const uint8_t* p = quotients; p < data.end(); p += 8) {
    uint64_t ones = LoadPart(p, data.end() - p);
    const int64_t first_bit = (p - quotients) * 8;
    PYASR_CHECK(i + __builtin_popcountll(ones) <= header.count, "quotients of more than ", header.count, " words");
    for (; ones; ones &= ones - 1, ++i) {
      const int64_t bit = first_bit + __builtin_ctzll(ones);
      // A field and the bits before it in its byte are at most 38 bits. Eight bytes are there but at the very end.
      const uint8_t* at = low + (low_bit >> 3);
      const uint64_t field = (LoadPart(at, data.end() - at) >> (low_bit & 7)) & mask;
      low_bit += width;
      index += 1 + ((bit - next_bit) << k) + static_cast<int64_t>(field >> 1);
      next_bit = bit + 1;
      words[i] = static_cast<int32_t>(static_cast<uint64_t>(index) << 1 | (field & 1));
    }
  }
  PYASR_CHECK_EQ(i, header.count, "words that have a quotient against their count");
  // Indices ascend, so none is out of range when the last is not.
  PYASR_CHECK(index < header.n, "the last index is ", index, " of ", header.n);
}

}  // namespace pyasr
