// The ids of a packed row (format.h) as bits.
#pragma once

#include <cstdint>

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

}  // namespace pyasr
