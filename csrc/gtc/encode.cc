#include "gtc/encode.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <new>

#include "base/check.h"
#include "base/isa.h"
#include "base/parallel_for.h"
#include "gtc/encode_chunk.h"
#include "gtc/words.h"

namespace pyasr {

PYASR_DECLARE_ISA(GtcChunk GtcEncodeChunk(const float* grad, float* residual, int64_t n, int64_t index, float tau,
                                          int32_t* words);)

namespace {

constexpr int64_t kSegment = 1 << 16;  // elements handed to a thread together
constexpr int64_t kChunk = 4096;       // elements whose words, at worst all, stand in a buffer that stays in L1

struct Segment {
  std::vector<int32_t> words;
  int64_t count = 0;
  int64_t first_bad = -1;
  bool out_of_memory = false;
};

void EncodeSegment(Span<const float> grad, Span<float> residual, int64_t begin, float tau, Segment* segment) {
  const auto encode = PYASR_FOR_ISA(GtcEncodeChunk);
  int32_t words[kChunk];
  const int64_t end = std::min(grad.size, begin + kSegment);
  for (int64_t i = begin; i < end; i += kChunk) {
    const GtcChunk chunk = encode(&grad[i], &residual[i], std::min(kChunk, end - i), i, tau, words);
    if (segment->first_bad < 0) segment->first_bad = chunk.first_bad;
    segment->count += chunk.count;
    try {
      segment->words.insert(segment->words.end(), words, words + chunk.count);
    } catch (const std::bad_alloc&) {
      segment->out_of_memory = true;
      AddGtcWords({words, chunk.count}, tau, residual.data);
    }
  }
}

bool Overlap(Span<const float> a, Span<float> b) {
  const std::less<const float*> less;
  return a.size > 0 && b.size > 0 && less(a.begin(), b.end()) && less(b.begin(), a.end());
}

}  // namespace

GtcEncoded GtcEncode(Span<const float> grad, Span<float> residual, float tau, int64_t max_count, int num_threads) {
  PYASR_CHECK_EQ(grad.size, residual.size, "elements of grad against those of residual");
  CheckGtcSize(grad.size);
  PYASR_CHECK(!Overlap(grad, residual), "grad and residual share memory");
  PYASR_CHECK(tau > 0 && std::isfinite(tau), "tau is ", tau, " in float32, not positive and finite");
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  std::vector<Segment> segments((grad.size + kSegment - 1) / kSegment);
  ParallelFor(static_cast<int64_t>(segments.size()), num_threads,
              [&](int64_t s) { EncodeSegment(grad, residual, s * kSegment, tau, &segments[s]); });

  GtcEncoded encoded;
  bool out_of_memory = false;
  for (const Segment& segment : segments) {
    encoded.count += segment.count;
    if (encoded.first_bad < 0) encoded.first_bad = segment.first_bad;
    out_of_memory |= segment.out_of_memory;
  }
  const bool send = encoded.first_bad < 0 && encoded.count <= max_count && !out_of_memory;
  if (send) {
    try {
      encoded.words.reserve(encoded.count);
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  }
  for (const Segment& segment : segments) {
    if (send && !out_of_memory) {
      encoded.words.insert(encoded.words.end(), segment.words.begin(), segment.words.end());
    } else {
      AddGtcWords({segment.words.data(), static_cast<int64_t>(segment.words.size())}, tau, residual.data);
    }
  }
  if (out_of_memory) throw std::bad_alloc();
  return encoded;
}

}  // namespace pyasr
