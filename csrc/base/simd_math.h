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

// Replaces each x <= 0 by exp(x) within 2e-7 (1 + |x| / 2) of its value, 0 by 1; below -87 by something between 0 and
// exp(-87) = 1.6e-38; NaN stays NaN. 2^n times 2^r, |r| <= 1/2, a polynomial of least relative error (9e-8). The same
// bits, down to -87, wherever multiply-adds are fused. Several vectors go step by step together, since each step waits
// for the one before it.
template <int n>
PYASR_INLINE void ExpOfNegative(F32 (&x)[n]) {
  F32 r[n], p[n], power[n];
#if defined(__AVX512F__)
  for (int i = 0; i < n; ++i) r[i] = Max(Fill(-87.0f), x[i]) * 1.44269504f;
  for (int i = 0; i < n; ++i) power[i] = (F32)_mm512_maskz_roundscale_ps(0xffff, (__m512)r[i], 0);
  for (int i = 0; i < n; ++i) r[i] -= power[i];
#else
  constexpr float kShift = 12582912.0f + 127.0f;  // 1.5 * 2^23: the low bits hold n, + 127 as in exponents of floats
  for (int i = 0; i < n; ++i) r[i] = Max(Fill(-87.0f), x[i]) * 1.44269504f;
  for (int i = 0; i < n; ++i) power[i] = r[i] + kShift;
  for (int i = 0; i < n; ++i) r[i] -= power[i] - kShift;
#endif
  for (int i = 0; i < n; ++i) p[i] = Fma(r[i], Fill(1.326472731e-3f), Fill(9.671512991e-3f));
  for (int i = 0; i < n; ++i) p[i] = Fma(p[i], r[i], Fill(5.550733581e-2f));
  for (int i = 0; i < n; ++i) p[i] = Fma(p[i], r[i], Fill(0.2402224243f));
  for (int i = 0; i < n; ++i) p[i] = Fma(p[i], r[i], Fill(0.6931470037f));
  for (int i = 0; i < n; ++i) p[i] = Fma(p[i], r[i], Fill(1.0f));
#if defined(__AVX512F__)
  for (int i = 0; i < n; ++i) x[i] = (F32)_mm512_maskz_scalef_ps(0xffff, (__m512)p[i], (__m512)power[i]);
#else
  for (int i = 0; i < n; ++i) x[i] = p[i] * FromBits(Bits(power[i]) << 23);
#endif
}

PYASR_INLINE F32 ExpOfNegative(F32 x) {
  F32 y[] = {x};
  ExpOfNegative(y);
  return y[0];
}

}  // namespace PYASR_ISA
}  // namespace pyasr
