// Choosing without a branch.
#pragma once

#include <cstdint>

namespace pyasr {

// `a` where `condition` holds, else `b`. For choices that no branch predictor can foresee; GCC turns the plain
// arithmetic back into a branch, so the mask is hidden from it.
inline int32_t Select(bool condition, int32_t a, int32_t b) {
  int32_t mask = -static_cast<int32_t>(condition);
  asm("" : "+r"(mask));
  return b ^ ((a ^ b) & mask);
}

}  // namespace pyasr
