// Functions of vectors of floats, for .isa.cc files as simd.h is. Errors are against the exact value, in every set, on
// half a million points of both signs (csrc/tests/simd_math_test.cc). NaN gives NaN.
#pragma once

#include "base/simd.h"

namespace pyasr {
namespace PYASR_ISA {

// e^x within 1.2e-7 of its value for -87 <= x <= 88; beyond, the value there.
// 2^n times a polynomial in the rest, |rest| <= log(2) / 2, least greatest relative error (3e-9 before rounding).
PYASR_INLINE F32 Exp(F32 x) {
  x = Min(Fill(88.0f), Max(Fill(-87.0f), x));  // in this order of arguments NaN stays
  const F32 shifted = Fma(x, Fill(1.44269504f), Fill(12582912.0f));  // 1.5 * 2^23: the low bits hold round(x / log 2)
  const F32 n = shifted - 12582912.0f;
  // log 2 in two parts, the first exact times n.
  const F32 rest = Fma(n, Fill(2.12194440e-4f), Fma(n, Fill(-0.693359375f), x));
  F32 p = Fill(0.00139506010f);
  p = Fma(p, rest, Fill(0.00836895406f));
  p = Fma(p, rest, Fill(0.0416662060f));
  p = Fma(p, rest, Fill(0.166665182f));
  p = Fma(p, rest, Fill(0.5f));
  p = Fma(p * rest, rest, rest) + 1.0f;
  return p * FromBits((Bits(shifted) + 127) << 23);
}

// 1 / (1 + e^-x) within 2e-7 of its value for x >= -87; within 2e-38 below.
PYASR_INLINE F32 Sigmoid(F32 x) { return 1.0f / (1.0f + Exp(-x)); }

// tanh x within 2e-7 of its value. An odd polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel.
PYASR_INLINE F32 Tanh(F32 x) {
  const F32 size = Abs(x);
  const F32 far = 1.0f - 2.0f / (Exp(size + size) + 1.0f);
  const F32 square = x * x;
  F32 p = Fill(-0.00571703259f);
  p = Fma(p, square, Fill(0.0206505750f));
  p = Fma(p, square, Fill(-0.0537434929f));
  p = Fma(p, square, Fill(0.133314908f));
  p = Fma(p, square, Fill(-0.333332837f));
  const F32 near = Fma(p * square, size, size);
  const F32 result = size < 0.625f ? near : far;
  return FromBits(Bits(result) | (Bits(x) & INT32_MIN));
}

}  // namespace PYASR_ISA
}  // namespace pyasr
