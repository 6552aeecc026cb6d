// The ids of a packed row (format.h) as bits.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "posterior/format.h"

namespace pyasr {

template <typename Id>
inline void WriteIds(const Id* ids, const TopkFormat& format, uint8_t* out) {
  uint32_t pending = 0;
  int bits = 0;
  for (int64_t i = 0; i < format.k; ++i) {
    pending |= static_cast<uint32_t>(ids[i]) << bits;
    for (bits += format.id_bits; bits >= 8; bits -= 8) {
      *out++ = static_cast<uint8_t>(pending);
      pending >>= 8;
    }
  }
  if (bits > 0) *out = static_cast<uint8_t>(pending);
}

// Returns the unused bits behind the last id: 0 in what WriteIds wrote. Ids are not checked.
template <typename Id>
inline uint32_t ReadIds(const uint8_t* in, const TopkFormat& format, Id* ids) {
  const uint32_t mask = (1u << format.id_bits) - 1;
  uint32_t pending = 0;
  int bits = 0;
  for (int64_t i = 0; i < format.k; ++i) {
    for (; bits < format.id_bits; bits += 8) pending |= static_cast<uint32_t>(*in++) << bits;
    ids[i] = static_cast<Id>(pending & mask);
    pending >>= format.id_bits;
    bits -= format.id_bits;
  }
  return pending;
}

// Throws std::invalid_argument naming the row for an id >= S, one that comes twice, or a bit set behind the last.
inline void ReadCheckedIds(const uint8_t* in, const TopkFormat& format, int64_t row, int32_t* ids) {
  const uint32_t behind = ReadIds(in, format, ids);
  for (int64_t i = 0; i < format.k; ++i) {
    PYASR_CHECK(ids[i] < format.num_senones, "row ", row, ": senone id ", ids[i], " of ", format.num_senones);
  }
  PYASR_CHECK(behind == 0, "row ", row, ": bits set behind the last id");
  for (int64_t i = 1; i < format.k; ++i) {
    bool twice = false;
    for (int64_t j = 0; j < i; ++j) twice |= ids[j] == ids[i];
    PYASR_CHECK(!twice, "row ", row, ": senone id ", ids[i], " comes twice");
  }
}

}  // namespace pyasr
