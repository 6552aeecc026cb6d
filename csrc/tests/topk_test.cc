#include "posterior/topk.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/test.h"

namespace {

struct Unpacked {
  std::vector<int32_t> ids;
  std::vector<float> logp;
};

std::vector<uint8_t> Pack(const std::vector<float>& logits, int64_t rows, int k, int threads = 1) {
  const int64_t cols = static_cast<int64_t>(logits.size()) / rows, bytes = pyasr::PackedRowBytes(k, cols);
  std::vector<uint8_t> packed(rows * bytes);
  pyasr::PackTopk({logits.data(), rows, cols, cols}, k, {packed.data(), rows, bytes, bytes}, threads);
  return packed;
}

Unpacked Unpack(const std::vector<uint8_t>& packed, int64_t rows, int k, int64_t num_senones) {
  const int64_t bytes = static_cast<int64_t>(packed.size()) / rows;
  Unpacked out{std::vector<int32_t>(rows * k), std::vector<float>(rows * k)};
  pyasr::UnpackTopk({packed.data(), rows, bytes, bytes}, num_senones, {out.ids.data(), rows, k, k},
                    {out.logp.data(), rows, k, k});
  return out;
}

}  // namespace

TEST(TopkOfOneRow) {
  const Unpacked out = Unpack(Pack({std::log(0.1f), std::log(0.6f), std::log(0.1f), std::log(0.2f)}, 1, 3), 1, 3, 4);
  EXPECT(out.ids == std::vector<int32_t>({1, 3, 0}));  // of two equal ones the lower id
  EXPECT(std::abs(std::exp(out.logp[0]) - 0.6) < 0.02 && std::abs(std::exp(out.logp[1]) - 0.2) < 0.02);
}

TEST(TopkRowsOfTwentyTakeFiftyBytes) {
  EXPECT(pyasr::PackedRowBytes(20, 4096) == 50 && pyasr::PackedRowBytes(20, 4097) == 53);
  EXPECT(pyasr::PackedRowBytes(1, 1) == 3);
}

TEST(TopkDoesNotDependOnThreads) {
  std::vector<float> logits(1025 * 97);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 1013) / 50.0f;
  EXPECT(Pack(logits, 1025, 20, 1) == Pack(logits, 1025, 20, 5));
}

TEST(TopkRefusesBadInput) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT(pyasr_test::Throws([] { Pack({0, std::nanf("")}, 1, 1); }));
  EXPECT(pyasr_test::Throws([=] { Pack({0, infinity}, 1, 1); }));
  EXPECT(pyasr_test::Throws([=] { Pack({-infinity, -infinity}, 1, 1); }));
  EXPECT(pyasr_test::Throws([] { Pack({0, 1}, 1, 3); }));
  EXPECT(pyasr_test::Throws([] { Unpack(std::vector<uint8_t>(3, 0xff), 1, 1, 5); }));
  EXPECT(pyasr_test::Throws([] { Unpack(std::vector<uint8_t>(4), 1, 1, 5); }));
}
