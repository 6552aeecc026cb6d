#include "posterior/row_block.h"

#include <vector>

#include "posterior/id_bits.h"
#include "tests/test.h"

namespace {

using pyasr::TopkFormat;

// Rows whose ids wander: neighbours share most, and some come anew.
std::vector<uint8_t> Rows(int64_t n, const TopkFormat& format) {
  std::vector<uint8_t> packed(n * format.row_bytes);
  std::vector<int32_t> ids(format.k);
  for (int64_t row = 0; row < n; ++row) {
    const int64_t step = 1 + row % 3;
    for (int64_t i = 0; i < format.k; ++i) {
      ids[i] = static_cast<int32_t>((row * step / 2 + i * (1 + row / 7)) % format.num_senones);
      for (int64_t j = 0; j < i; ++j) {
        if (ids[j] == ids[i]) {
          ids[i] = static_cast<int32_t>((ids[i] + 1) % format.num_senones);
          j = -1;
        }
      }
    }
    uint8_t* out = packed.data() + row * format.row_bytes;
    pyasr::WriteIds(ids.data(), format, out);
    for (int64_t i = 0; i < format.k; ++i) out[format.id_bytes + i] = static_cast<uint8_t>(row * 31 + i * 7);
  }
  return packed;
}

std::vector<uint8_t> Decode(const std::vector<uint8_t>& coded, int64_t n, int64_t stop, const TopkFormat& format) {
  std::vector<uint8_t> packed(stop * format.row_bytes);
  pyasr::DecodeRows({coded.data(), static_cast<int64_t>(coded.size())}, n, format,
                    {packed.data(), stop, format.row_bytes, format.row_bytes});
  return packed;
}

}  // namespace

TEST(RowBlockGivesBackWhatWasEncoded) {
  for (const auto& [k, senones] : {std::pair{1, 1}, {1, 300}, {5, 5}, {20, 300}, {20, 4097}, {64, 65535}}) {
    const TopkFormat format(k, senones);
    for (const int64_t n : {0, 1, 2, 100, 257}) {
      const auto packed = Rows(n, format);
      const auto coded = pyasr::EncodeRows({packed.data(), n, format.row_bytes, format.row_bytes}, format);
      for (const int64_t stop : {int64_t{0}, n / 2, n}) {
        const std::vector<uint8_t> expected(packed.begin(), packed.begin() + stop * format.row_bytes);
        EXPECT(Decode(coded, n, stop, format) == expected);
      }
    }
  }
}

TEST(RowBlockRefusesWhatCannotBe) {
  const TopkFormat format(20, 300);
  const auto packed = Rows(40, format);
  const auto coded = pyasr::EncodeRows({packed.data(), 40, format.row_bytes, format.row_bytes}, format);
  for (const size_t size : {size_t{0}, size_t{1}, coded.size() - 1, coded.size() - 2, coded.size() / 2}) {
    const std::vector<uint8_t> cut(coded.begin(), coded.begin() + size);
    EXPECT(pyasr_test::Throws([&] { Decode(cut, 40, 40, format); }));
  }
  auto longer = coded;
  longer.resize(coded.size() + 2);
  EXPECT(pyasr_test::Throws([&] { Decode(longer, 40, 40, format); }));
  EXPECT(pyasr_test::Throws([&] { Decode(coded, INT64_MAX / 2, 40, format); }));
  EXPECT(pyasr_test::Throws([&] { Decode(coded, 40, 41, format); }));
  for (size_t i = 0; i < coded.size(); ++i) {  // under the sanitizers: no byte leads outside
    auto damaged = coded;
    damaged[i] ^= 0xA5;
    try {
      Decode(damaged, 40, 40, format);
    } catch (const std::invalid_argument&) {
    }
  }
}
