#include <cmath>
#include <limits>
#include <vector>

#include "gtc/decode_add.h"
#include "gtc/encode.h"
#include "gtc/golomb_rice.h"
#include "gtc/words.h"
#include "tests/test.h"

namespace {

constexpr int64_t kAll = pyasr::kMaxGtcSize;

// Numerical Recipes' generator; the high bits are the good ones.
struct Random {
  uint32_t state = 1;
  uint32_t operator()() { return (state = state * 1664525u + 1013904223u) >> 8; }
};

std::vector<float> Uniform(int64_t n, Random* random) {
  std::vector<float> x(n);
  for (float& value : x) value = static_cast<float>((*random)()) / (1 << 23) - 1;
  return x;
}

template <typename T>
pyasr::Span<T> SpanOf(std::vector<T>& x) {
  return {x.data(), static_cast<int64_t>(x.size())};
}

template <typename T>
pyasr::Span<const T> ConstSpanOf(const std::vector<T>& x) {
  return {x.data(), static_cast<int64_t>(x.size())};
}

std::vector<uint8_t> Compress(const std::vector<int32_t>& words, int64_t n) {
  const pyasr::GtcHeader header = pyasr::MakeGtcHeader(ConstSpanOf(words), n);
  std::vector<uint8_t> data(pyasr::GtcCompressedBytes(ConstSpanOf(words), header));
  pyasr::GtcCompress(ConstSpanOf(words), header, SpanOf(data));
  return data;
}

std::vector<int32_t> Decompress(const std::vector<uint8_t>& data) {
  const pyasr::GtcHeader header = pyasr::ReadGtcHeader(ConstSpanOf(data));
  std::vector<int32_t> words(header.count);
  pyasr::GtcDecompress(ConstSpanOf(data), header, SpanOf(words));
  return words;
}

// Whatever the bytes are: they are refused, or a message that compresses to the same bytes comes out.
void ExpectRefusedOrGood(const std::vector<uint8_t>& data) {
  std::vector<int32_t> words;
  try {
    words = Decompress(data);
  } catch (const std::invalid_argument&) {
    return;
  }
  EXPECT(Compress(words, pyasr::ReadGtcHeader(ConstSpanOf(data)).n) == data);
}

}  // namespace

TEST(GtcSendsWhatIsBeyondTheThresholdAndKeepsTheRest) {
  const std::vector<float> grad = {0.5f, 1.0f, -1.0f, 1.25f, -2.5f, 0.0f};
  std::vector<float> residual = {0.0f, 0.0f, -0.25f, 0.0f, 0.0f, 3.0f};
  const auto encoded = pyasr::GtcEncode(ConstSpanOf(grad), SpanOf(residual), 1.0f, kAll, 1);
  EXPECT(encoded.words == std::vector<int32_t>({2 << 1, 3 << 1 | 1, 4 << 1, 5 << 1 | 1}));
  EXPECT(residual == std::vector<float>({0.5f, 1.0f, -0.25f, 0.25f, -1.5f, 2.0f}));
}

TEST(GtcDoesNotDependOnThreads) {
  Random random;
  for (int64_t n : {0, 1, 31, 33, 4095, 65537, 200003}) {
    const std::vector<float> grad = Uniform(n, &random);
    const std::vector<float> before = Uniform(n, &random);
    std::vector<float> one = before, many = before;
    const auto a = pyasr::GtcEncode(ConstSpanOf(grad), SpanOf(one), 1.2f, kAll, 1);
    const auto b = pyasr::GtcEncode(ConstSpanOf(grad), SpanOf(many), 1.2f, kAll, 4);
    EXPECT(a.words == b.words && one == many && a.count == static_cast<int64_t>(a.words.size()));
    const std::vector<pyasr::Span<const int32_t>> messages(3, ConstSpanOf(a.words));
    pyasr::GtcDecodeAdd(messages, 0.3f, SpanOf(one), 1);
    pyasr::GtcDecodeAdd(messages, 0.3f, SpanOf(many), 4);
    EXPECT(one == many);
  }
}

TEST(GtcPutsBackWhatCannotBeSent) {
  Random random;
  std::vector<float> grad = Uniform(100003, &random);
  const std::vector<float> zeros(grad.size());
  std::vector<float> residual = zeros;
  auto encoded = pyasr::GtcEncode(ConstSpanOf(grad), SpanOf(residual), 0.6f, 10, 3);
  EXPECT(encoded.words.empty() && encoded.count > 10 && encoded.first_bad == -1 && residual == grad);
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    grad[70001] = bad;
    residual = zeros;
    encoded = pyasr::GtcEncode(ConstSpanOf(grad), SpanOf(residual), 0.6f, kAll, 3);
    EXPECT(encoded.words.empty() && encoded.first_bad == 70001);
    EXPECT(residual[70001] == 0 && residual[70000] == grad[70000] && residual[70002] == grad[70002]);
  }
}

TEST(GtcRefusesArgumentsThatCannotBe) {
  std::vector<float> x(4), y(5);
  EXPECT(pyasr_test::Throws([&] { pyasr::GtcEncode(ConstSpanOf(x), SpanOf(y), 1, kAll, 1); }));
  EXPECT(pyasr_test::Throws([&] { pyasr::GtcEncode(ConstSpanOf(x), SpanOf(x), 1, kAll, 1); }));
  EXPECT(pyasr_test::Throws([&] { pyasr::GtcEncode({y.data(), 4}, SpanOf(x), 0, kAll, 1); }));
  EXPECT(pyasr_test::Throws([&] { pyasr::GtcEncode({y.data(), 4}, SpanOf(x), 1, kAll, 0); }));
  for (const std::vector<int32_t>& words : {std::vector<int32_t>{8}, {-2}, {3, 2}, {0, 6, 4}, {0, 7, 8}}) {
    EXPECT(pyasr_test::Throws([&] { pyasr::GtcDecodeAdd({{}, ConstSpanOf(words)}, 1, SpanOf(x), 2); }));
    EXPECT(pyasr_test::Throws([&] { Compress(words, 4); }));
  }
  EXPECT(x == std::vector<float>(4));
}

TEST(GtcMessagesComeBackFromTheirBytes) {
  Random random;
  for (int64_t n : {int64_t{1}, int64_t{7}, int64_t{97}, int64_t{100000}, pyasr::kMaxGtcSize}) {
    for (uint32_t mean_gap : {1, 2, 3, 17, 1000, 100000, 600000000}) {
      std::vector<int32_t> words;
      for (int64_t index = random() % mean_gap; index < n && words.size() < 3000;) {
        words.push_back(static_cast<int32_t>(index << 1 | (random() & 1)));
        index += 1 + random() % (2 * mean_gap - 1);
      }
      EXPECT(Decompress(Compress(words, n)) == words);
      if (!words.empty()) words.back() = static_cast<int32_t>(2 * (n - 1) + 1);  // a gap of any length
      EXPECT(Decompress(Compress(words, n)) == words);
    }
  }
  EXPECT(Compress({}, 5).size() == pyasr::kGtcHeaderBytes);
}

TEST(GtcBytesAreRefusedOrMakeGoodWordsWhateverTheyAre) {
  Random random;
  for (int64_t n : {3, 40, 1000, 1 << 30}) {
    std::vector<int32_t> words;
    for (int64_t index = 0; index < n && words.size() < 20; index += 1 + random() % (1 + n / 10)) {
      words.push_back(static_cast<int32_t>(index << 1 | (random() & 1)));
    }
    const std::vector<uint8_t> data = Compress(words, n);
    for (size_t i = 0; i < data.size(); ++i) {
      for (int change = 1; change < 256; ++change) {
        std::vector<uint8_t> changed = data;
        changed[i] ^= static_cast<uint8_t>(change);
        ExpectRefusedOrGood(changed);
      }
      ExpectRefusedOrGood(std::vector<uint8_t>(data.begin(), data.begin() + i));
    }
    for (int repeat = 0; repeat < 20000; ++repeat) {
      std::vector<uint8_t> changed = data;
      const size_t first = repeat % 2 ? pyasr::kGtcHeaderBytes : 0;  // a good header lets more through
      for (size_t i = first; i < data.size(); ++i) {
        if (random() % 8 == 0) changed[i] = static_cast<uint8_t>(random() & random());
      }
      if (random() % 4 == 0) changed.push_back(static_cast<uint8_t>(random()));
      ExpectRefusedOrGood(changed);
    }
  }
}
