// What encode.cc and encode.isa.cc know of each other.
#pragma once

#include <cstdint>

namespace pyasr {

struct GtcChunk {
  int64_t count;      // words written
  int64_t first_bad;  // as in GtcEncoded
};

}  // namespace pyasr
