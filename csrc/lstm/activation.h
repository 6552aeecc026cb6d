// Sigmoid and hyperbolic tangent on vectors, for .isa.cc files. Both follow from one reduction,
//   exp(x) = s + s p,  s = 2^n,  p = exp(r) - 1,  r = x - n ln 2,  |r| <= ln 2 / 2,
// with p = r + r^2 q(r), q of degree 4 by a minimax fit (1.6e-8 of r). Relative errors against float64: sigmoid below
// 2.5e-7, tanh below 3e-7 (tests/kernels/test_lstm.py sees them through a cell), near zero as anywhere else. NaN stays NaN.
#pragma once

#include "base/simd.h"

namespace pyasr {
namespace PYASR_ISA {

struct ScaledExp {
  F32 scale, minus_one;  // s and s p
};

// |x| <= 87.
PYASR_INLINE ScaledExp Exp(F32 x) {
  const F32 shift = Fill(12582912.0f);  // 1.5 2^23: adding it rounds to an integer, left in the lowest bits
  const F32 shifted = Fma(x, Fill(1.44269502f), shift);
  const F32 n = shifted - shift;
  const F32 r = Fma(n, Fill(-0.00174093060f), Fma(n, Fill(-0.69140625f), x));
  F32 q = Fill(0.00139465497f);
  q = Fma(q, r, Fill(0.00836664252f));
  q = Fma(q, r, Fill(0.0416662805f));
  q = Fma(q, r, Fill(0.166665420f));
  q = Fma(q, r, Fill(0.5f));
  const F32 scale = FromBits((Bits(shifted) << 23) + 0x3f800000);
  return {scale, scale * Fma(r * r, q, r)};
}

// 1 / (1 + exp(-x)). From 87 on, outwards, as at 87: 1, and 1.6e-38.
PYASR_INLINE F32 Sigmoid(F32 x) {
  const ScaledExp e = Exp(Max(Fill(-87.0f), Min(Fill(87.0f), -x)));  // NaN goes through: the second of both is kept
  return Fill(1.0f) / (Fill(1.0f) + (e.scale + e.minus_one));
}

// -(e - 1) / (e + 1) with e = exp(-2 |x|), and the sign of x.
PYASR_INLINE F32 Tanh(F32 x) {
  const I32 sign = Bits(x) & static_cast<int32_t>(0x80000000);
  const ScaledExp e = Exp(Max(Fill(-40.0f), FromBits(Bits(x + x) | static_cast<int32_t>(0x80000000))));
  const F32 minus_one = (e.scale - Fill(1.0f)) + e.minus_one;
  return FromBits(Bits(-minus_one / (Fill(2.0f) + minus_one)) | sign);
}

}  // namespace PYASR_ISA
}  // namespace pyasr
