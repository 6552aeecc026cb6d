// The helpers of simd.h against plain loops; called by isa_test.cc, compiled for every set as a kernel is.
#include "base/simd.h"

namespace pyasr {
namespace PYASR_ISA {

// 0, or the number of the first check that fails.
int CheckSimd() {
  float x[kLanes], y[kLanes], z[kLanes], out[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    x[i] = 0.5f * static_cast<float>(i * 5 % kLanes) - 3;
    y[i] = static_cast<float>(i) - 4;
    z[i] = 0.25f * static_cast<float>(i);
  }
  const F32 a = Load(x), b = Load(y), c = Load(z);
  Store(out, Fma(a, b, c));  // these numbers need no rounding
  for (int i = 0; i < kLanes; ++i) {
    if (out[i] != x[i] * y[i] + z[i]) return 1;
  }
  Store(out, Max(a, b));
  float sum = 0, max = x[0];
  for (int i = 0; i < kLanes; ++i) {
    if (out[i] != (x[i] > y[i] ? x[i] : y[i])) return 2;
    if (((MaskBits(a > b) >> i) & 1) != (x[i] > y[i])) return 3;
    sum += x[i];
    max = x[i] > max ? x[i] : max;
  }
  if (static_cast<uint64_t>(MaskBits(a > b)) >> kLanes) return 4;
  if (Sum(a) != sum) return 5;
  if (MaxOf(a) != max) return 6;
  Store(out, Min(a, Fill(-1.0f)));
  for (int i = 0; i < kLanes; ++i) {
    if (out[i] != (x[i] < -1 ? x[i] : -1)) return 7;
  }
  Store(out, FromBits(Bits(a)));
  for (int i = 0; i < kLanes; ++i) {
    if (out[i] != x[i]) return 8;
  }
  for (int i = 0; i < kLanes; ++i) {
    if (Bits(Fill(-0.0f))[i] != INT32_MIN) return 9;
  }
  return 0;
}

}  // namespace PYASR_ISA
}  // namespace pyasr
