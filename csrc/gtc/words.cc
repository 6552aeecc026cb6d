#include "gtc/words.h"

#include "base/check.h"

namespace pyasr {

void CheckGtcSize(int64_t n) {
  PYASR_CHECK(n >= 0 && n <= kMaxGtcSize, "number of weights is ", n, ", outside 0..2^30");
}

void CheckGtcWords(Span<const int32_t> words, int64_t n) {
  if (words.size == 0) return;
  // Without branches, so that it vectorises; what is wrong, and where, is found out afterwards.
  int32_t bad = words[0] < 0 || GtcIndex(words[words.size - 1]) >= n;
  for (int64_t i = 1; i < words.size; ++i) bad |= GtcIndex(words[i]) <= GtcIndex(words[i - 1]);
  if (!bad) return;
  for (int64_t i = 0; i < words.size; ++i) {
    const int32_t index = GtcIndex(words[i]);
    PYASR_CHECK(index >= 0 && index < n, "word ", i, ": index ", index, " of ", n);
    PYASR_CHECK(i == 0 || index > GtcIndex(words[i - 1]), "word ", i, ": index ", index, " comes behind ",
                GtcIndex(words[i - 1]));
  }
}

void AddGtcWords(Span<const int32_t> words, float step, float* out) {
  // The next places in `out` are too far apart for the processor to foresee. Asked for in the second-level cache, where
  // more misses can be under way than into the first (decode_add.h).
  constexpr int64_t kAhead = 64;  // words
  const float steps[] = {-step, step};
  int64_t i = 0;
  for (; i + kAhead < words.size; ++i) {
    __builtin_prefetch(out + GtcIndex(words[i + kAhead]), 0, 2);
    out[GtcIndex(words[i])] += steps[words[i] & 1];
  }
  for (; i < words.size; ++i) out[GtcIndex(words[i])] += steps[words[i] & 1];
}

}  // namespace pyasr
