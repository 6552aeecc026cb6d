#include "gtc/decode_add.h"

#include <algorithm>
#include <stdexcept>

#include "base/check.h"
#include "base/parallel_for.h"
#include "gtc/words.h"

namespace pyasr {
namespace {

constexpr int64_t kWordsPerBlock = 8192;

// Checks the words, and finds where each block of so many elements begins among them; begins: one more than blocks.
void CheckAndSplit(Span<const int32_t> words, int64_t size, int64_t block, Span<const int32_t*> begins) {
  CheckGtcWords(words, size);
  const auto before = [](int32_t word, int64_t index) { return GtcIndex(word) < index; };
  begins[0] = words.begin();
  for (int64_t b = 1; b < begins.size; ++b) {
    begins[b] = std::lower_bound(begins[b - 1], words.end(), b * block, before);
  }
}

}  // namespace

void GtcDecodeAdd(const std::vector<Span<const int32_t>>& messages, float step, Span<float> out, int num_threads) {
  CheckGtcSize(out.size);
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  int64_t num_words = 0;
  for (const auto& words : messages) num_words += words.size;
  const int64_t num_blocks = std::max<int64_t>((num_words + kWordsPerBlock - 1) / kWordsPerBlock, 1);
  const int64_t block = (out.size + num_blocks - 1) / num_blocks, num_messages = static_cast<int64_t>(messages.size());
  std::vector<const int32_t*> begins(num_messages * (num_blocks + 1));
  ParallelFor(num_messages, num_threads, [&](int64_t m) {
    try {
      CheckAndSplit(messages[m], out.size, block, {begins.data() + m * (num_blocks + 1), num_blocks + 1});
    } catch (const std::invalid_argument& error) {
      Fail("message ", m, ": ", error.what());
    }
  });
  ParallelFor(num_blocks, num_threads, [&](int64_t b) {
    for (int64_t m = 0; m < num_messages; ++m) {
      const int32_t* const* part = begins.data() + m * (num_blocks + 1) + b;
      AddGtcWords({part[0], part[1] - part[0]}, step, out.data);
    }
  });
}

}  // namespace pyasr
