// The helpers of simd.h against plain loops; called by isa_test.cc, compiled for every set as a kernel is.
#include "base/simd_math.h"

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
  double u[kLanes64], v[kLanes64], w[kLanes64], out64[kLanes64];
  int32_t whole[kLanes64];
  for (int i = 0; i < kLanes64; ++i) {
    u[i] = 0.75 * (i * 5 % kLanes64) - 3;
    v[i] = i - 2;
    w[i] = 0.25 * i;
  }
  Store(out64, Fma(Load(u), Load(v), Load(w)));
  for (int i = 0; i < kLanes64; ++i) {
    if (out64[i] != u[i] * v[i] + w[i]) return 10;
  }
  Store(out64, Max(Min(Load(u), Load(v)), Fill(-1.5)));
  Store(whole, ToInt32(Load(u)));
  for (int i = 0; i < kLanes64; ++i) {
    const double min = u[i] < v[i] ? u[i] : v[i];
    if (out64[i] != (min > -1.5 ? min : -1.5)) return 11;
    if (whole[i] != static_cast<int32_t>(u[i])) return 12;
  }
  int32_t places[kLanes64];
  for (int i = 0; i < kLanes64; ++i) places[i] = i * 3 % kLanes;
  Store(out64, Gather(x, places));
  for (int i = 0; i < kLanes64; ++i) {
    if (out64[i] != x[i * 3 % kLanes]) return 25;
    if (((LessEqualBits(Load(u), Load(v)) >> i) & 1) != (u[i] <= v[i])) return 26;
  }
  if (LessEqualBits(Fill(1.0), Fill(1.0)) >> kLanes64) return 27;
  if (LessEqualBits(Fill(__builtin_nan("")), Fill(1.0))) return 28;
  Store(out64, Shift(Load(u), Load(v)));
  for (int i = 0; i < kLanes64; ++i) {
    if (out64[i] != (i ? v[i - 1] : u[kLanes64 - 1])) return 29;
  }
  double least = u[0];
  for (int i = 1; i < kLanes64; ++i) least = u[i] < least ? u[i] : least;
  if (MinOf(Load(u)) != least) return 30;
  int32_t rounded[kLanes];
  Store(rounded, Round(a));
  Store(out, Abs(a));
  for (int i = 0; i < kLanes; ++i) {
    if (rounded[i] != static_cast<int32_t>(__builtin_rintf(x[i]))) return 20;  // halves among them
    if (out[i] != (x[i] < 0 ? -x[i] : x[i])) return 21;
  }
  Store(out, ToFloat(Load(rounded) * Fill(3)));
  for (int i = 0; i < kLanes; ++i) {
    if (out[i] != 3.0f * static_cast<float>(rounded[i])) return 22;
  }
  int8_t bytes[2 * kLanes];
  uint16_t pairs[2 * kLanes];
  int16_t words[2 * kLanes];
  for (int i = 0; i < 2 * kLanes; ++i) {
    bytes[i] = static_cast<int8_t>(i * 77 - 128);
    words[i] = static_cast<int16_t>(i * 999 - 8191);
    const float value = static_cast<float>(i) - 2.5f;  // exact in bf16
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    pairs[i] = static_cast<uint16_t>(bits >> 16);
  }
  I16 wide;
  std::memcpy(&wide, words, sizeof wide);
  Store(rounded, MultiplyAddPairs(LoadWiden(bytes), wide, Fill(5)));
  F32 even, odd;
  LoadBf16(pairs, even, odd);
  for (int i = 0; i < kLanes; ++i) {
    if (rounded[i] != 5 + bytes[2 * i] * words[2 * i] + bytes[2 * i + 1] * words[2 * i + 1]) return 23;
    if (even[i] != static_cast<float>(2 * i) - 2.5f || odd[i] != static_cast<float>(2 * i) - 1.5f) return 24;
  }
#if defined(__AVX512VNNI__)
  uint8_t weights[4 * kLanes];
  int8_t factors[4 * kLanes];
  for (int i = 0; i < 4 * kLanes; ++i) {
    weights[i] = static_cast<uint8_t>(i * 77 + 200);
    factors[i] = static_cast<int8_t>(i * 51 - 128);
  }
  I32 fours[2];
  std::memcpy(fours, weights, sizeof *fours);
  std::memcpy(fours + 1, factors, sizeof *fours);
  Store(rounded, MultiplyAddFours(fours[0], fours[1], Fill(-7)));
  for (int i = 0; i < kLanes; ++i) {
    int32_t sum = -7;
    for (int j = 4 * i; j < 4 * i + 4; ++j) sum += weights[j] * factors[j];
    if (rounded[i] != sum) return 25;
  }
#endif
  uint16_t halves[kLanes];
  for (int i = 0; i < kLanes; ++i) halves[i] = static_cast<uint16_t>(0x3f80 + i);
  Store(out, LoadUpperHalves(halves));
  for (int i = 0; i < kLanes; ++i) {
    if (out[i] != 1 + static_cast<float>(i) / 128) return 13;
  }
  const float nan = __builtin_nanf("1"), infinity = __builtin_inff();
  if (Max(Fill(nan), a)[0] != a[0] || !__builtin_isnan(Max(a, Fill(nan))[0])) return 14;
  for (float start = 0; start > -86; start -= 0.0078125f) {
    for (int i = 0; i < kLanes; ++i) x[i] = start - 0.0078125f * z[i] / kLanes;
    Store(out, ExpOfNegative(Load(x)));
    for (int i = 0; i < kLanes; ++i) {
      const double exact = __builtin_exp(x[i]), error = __builtin_fabs(out[i] - exact);
      if (!(error <= 2e-7 * (1 - x[i] / 2) * exact)) return 15;
    }
  }
  if (ExpOfNegative(Fill(0.0f))[0] != 1 || !(ExpOfNegative(Fill(-infinity))[0] < 1.7e-38f)) return 16;
  if (!__builtin_isnan(ExpOfNegative(Fill(nan))[0])) return 17;
  for (int count = 1; count <= kLanes + 1; ++count) {
    float first[kLanes] = {}, rest[kLanes];
    StoreFirst(first, LoadFirst(x, count), count);
    Store(rest, LoadFirst(x, count));
    for (int i = 0; i < kLanes; ++i) {
      if (first[i] != (i < count ? x[i] : 0) || rest[i] != first[i]) return 18;
    }
    Store(rest, b);
    StoreFirst(rest, Load(x), count);
    for (int i = 0; i < kLanes; ++i) {
      if (rest[i] != (i < count ? x[i] : y[i])) return 19;
    }
  }
  return 0;
}

}  // namespace PYASR_ISA
}  // namespace pyasr
