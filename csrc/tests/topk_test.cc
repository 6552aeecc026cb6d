#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "posterior/pack_topk.h"
#include "posterior/unpack_topk.h"
#include "tests/test.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<uint8_t> Pack(const std::vector<float>& logits, int64_t rows, int64_t k, int threads = 1) {
  const int64_t senones = static_cast<int64_t>(logits.size()) / rows;
  const pyasr::TopkFormat format(k, senones);
  std::vector<uint8_t> packed(rows * format.row_bytes);
  pyasr::PackTopk(pyasr::MatrixView<const float>{logits.data(), rows, senones, senones}, format,
                  {packed.data(), rows, format.row_bytes, format.row_bytes}, threads);
  return packed;
}

struct Rows {
  std::vector<int32_t> ids;
  std::vector<float> logp;
};

Rows Unpack(const std::vector<uint8_t>& packed, int64_t k, int64_t senones, int threads = 1) {
  const pyasr::TopkFormat format(k, senones);
  const int64_t rows = static_cast<int64_t>(packed.size()) / format.row_bytes;
  Rows result{std::vector<int32_t>(rows * k), std::vector<float>(rows * k)};
  pyasr::UnpackTopk({packed.data(), rows, format.row_bytes, format.row_bytes}, format, {result.ids.data(), rows, k, k},
                    {result.logp.data(), rows, k, k}, threads);
  return result;
}

std::vector<float> Logits(int64_t rows, int64_t senones) {
  std::vector<float> logits(rows * senones);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 10007) / 1000.0f;
  return logits;
}

}  // namespace

TEST(TopkRowsHaveTheSizesOfTheFormat) {
  EXPECT(pyasr::TopkFormat(20, 300).row_bytes == 50);
  EXPECT(pyasr::TopkFormat(20, 4096).row_bytes == 50);
  EXPECT(pyasr::TopkFormat(20, 4097).row_bytes == 33 + 20);
  EXPECT(pyasr::TopkFormat(64, 65535).row_bytes == 128 + 64);
  EXPECT(pyasr::TopkFormat(1, 1).row_bytes == 3);
  for (const auto& [k, senones] : {std::pair{0, 5}, {65, 100}, {6, 5}, {1, 65536}, {1, 0}}) {
    EXPECT(pyasr_test::Throws([k = k, senones = senones] { pyasr::TopkFormat(k, senones); }));
  }
}

TEST(TopkKeepsTheBestInOrder) {
  const Rows rows = Unpack(Pack({1, 3, 2, 3, -kInfinity, 0}, 1, 4), 4, 6);
  EXPECT(rows.ids == std::vector<int32_t>({1, 3, 2, 0}));
  const double sum = 2 * std::exp(3.0) + std::exp(2.0) + std::exp(1.0) + 1;
  const double exact[] = {3, 3, 2, 1};
  for (int i = 0; i < 4; ++i) EXPECT(std::abs(rows.logp[i] - (exact[i] - std::log(sum))) < 0.03);
}

TEST(TopkSumsStayBelowOneWhateverTheBytes) {
  uint32_t random = 1;
  for (int64_t senones : {20, 3183, 65535}) {
    const pyasr::TopkFormat format(20, senones);
    for (int repeat = 0; repeat < 3000; ++repeat) {
      std::vector<uint8_t> packed(format.row_bytes);
      for (uint8_t& byte : packed) {
        random = random * 1664525u + 1013904223u;
        byte = static_cast<uint8_t>(random >> 24 & random >> 16);  // small codes are the interesting ones
      }
      try {
        const Rows rows = Unpack(packed, 20, senones);
        double sum = 0;
        for (float logp : rows.logp) sum += std::exp(static_cast<double>(logp));
        EXPECT(sum < 1.0);
      } catch (const std::invalid_argument& error) {
        EXPECT(std::string(error.what()).find("row 0: senone id") == 0);
      }
    }
  }
}

TEST(TopkDoesNotDependOnThreads) {
  for (int64_t senones : {20, 127, 129, 1025}) {
    const std::vector<float> logits = Logits(97, senones);
    const std::vector<uint8_t> packed = Pack(logits, 97, 20);
    EXPECT(packed == Pack(logits, 97, 20, 5));
    const Rows one = Unpack(packed, 20, senones), many = Unpack(packed, 20, senones, 5);
    EXPECT(one.ids == many.ids && one.logp == many.logp);
  }
}

// Ascending logits, few levels, and the best all in one group: more candidates than the buffer of the selection holds.
TEST(TopkKeepsTheLowestIdsOfManyEqualOnes) {
  for (int64_t senones : {64, 65, 4096, 4097, 9000}) {
    std::vector<float> logits(senones);
    for (int64_t levels : {1, 2, 3, 128, 100000}) {
      for (int64_t i = 0; i < senones; ++i) logits[i] = static_cast<float>(i % levels);
      std::vector<int32_t> expected(senones);
      for (int64_t i = 0; i < senones; ++i) expected[i] = static_cast<int32_t>(i);
      std::stable_sort(expected.begin(), expected.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
      for (int64_t k : {1, 20, 64}) {
        EXPECT(Unpack(Pack(logits, 1, k), k, senones).ids ==
               std::vector<int32_t>(expected.begin(), expected.begin() + k));
      }
    }
  }
}

TEST(TopkFillsUpWithTheLowestIdsOfThoseAtMinusInfinity) {
  std::vector<float> logits(5000, -kInfinity);
  logits[4500] = 1;
  logits[2] = 0;
  EXPECT(Unpack(Pack(logits, 1, 5), 5, 5000).ids == std::vector<int32_t>({4500, 2, 0, 1, 3}));
}

TEST(TopkRefusesBadLogitsAndBytes) {
  for (float bad : {std::nanf(""), kInfinity}) {
    std::vector<float> logits = Logits(40, 130);
    logits[33 * 130 + 129] = bad;
    EXPECT(pyasr_test::Throws([&] { Pack(logits, 40, 20); }));
  }
  EXPECT(pyasr_test::Throws([] { Pack({-kInfinity, -kInfinity}, 1, 1); }));
  std::vector<uint8_t> packed = Pack(Logits(2, 300), 2, 3);
  EXPECT(Unpack(packed, 3, 300).ids.size() == 6);
  packed[4] |= 0x80;  // 36 bits of ids in 40
  EXPECT(pyasr_test::Throws([&] { Unpack(packed, 3, 300); }));
  packed = Pack(Logits(2, 300), 2, 3);
  packed[0] = packed[1] = 0xff;
  EXPECT(pyasr_test::Throws([&] { Unpack(packed, 3, 300); }));
}
