#include "gtc/decode_add.h"

#include <algorithm>
#include <stdexcept>

#include "base/check.h"
#include "base/parallel_for.h"
#include "gtc/words.h"

namespace pyasr {
namespace {

constexpr int64_t kWordsPerBlock = 8192;

// The words whose indices lie in [begin, end).
Span<const int32_t> Between(Span<const int32_t> words, int64_t begin, int64_t end) {
  const auto before = [](int32_t word, int64_t index) { return GtcIndex(word) < index; };
  const int32_t* first = std::lower_bound(words.begin(), words.end(), begin, before);
  const int32_t* last = std::lower_bound(first, words.end(), end, before);
  return {first, last - first};
}

}  // namespace

void GtcDecodeAdd(const std::vector<Span<const int32_t>>& messages, float step, Span<float> out, int num_threads) {
  CheckGtcSize(out.size);
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  int64_t num_words = 0;
  for (const auto& words : messages) num_words += words.size;
  for (size_t m = 0; m < messages.size(); ++m) {  // a twentieth of the time, about what starting threads takes
    try {
      CheckGtcWords(messages[m], out.size);
    } catch (const std::invalid_argument& error) {
      Fail("message ", m, ": ", error.what());
    }
  }
  const int64_t num_blocks = (num_words + kWordsPerBlock - 1) / kWordsPerBlock;
  if (num_blocks == 0) return;
  const int64_t block = (out.size + num_blocks - 1) / num_blocks;
  ParallelFor(num_blocks, num_threads, [&](int64_t b) {
    for (const auto& words : messages) AddGtcWords(Between(words, b * block, (b + 1) * block), step, out.data);
  });
}

}  // namespace pyasr
