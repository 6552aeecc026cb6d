// Vectors of the instruction set that an .isa.cc file is being compiled for (see isa.h): F32 is kLanes floats, I32 as
// many int32, I16 twice as many int16. Arithmetic and comparison operators are the compiler's own (GCC, Clang); the
// rest is here. A comparison gives an I32 of 0 and -1. Kernels written with these are the same text for every set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef PYASR_ISA
#error "only for .isa.cc files, which CMake compiles with PYASR_ISA set"
#endif

#define PYASR_INLINE inline __attribute__((always_inline))

namespace pyasr {
namespace PYASR_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float F32 __attribute__((vector_size(4 * kLanes)));
typedef int32_t I32 __attribute__((vector_size(4 * kLanes)));
typedef int16_t I16 __attribute__((vector_size(4 * kLanes)));
// The same for float64, half as many: F64, I64, and as many int32.
constexpr int kLanes64 = kLanes / 2;
typedef double F64 __attribute__((vector_size(8 * kLanes64)));
typedef int64_t I64 __attribute__((vector_size(8 * kLanes64)));
typedef int32_t HalfI32 __attribute__((vector_size(4 * kLanes64)));

PYASR_INLINE F32 Load(const float* p) {
  F32 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

PYASR_INLINE void Store(float* p, F32 v) { std::memcpy(p, &v, sizeof v); }

PYASR_INLINE I32 Load(const int32_t* p) {
  I32 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

PYASR_INLINE void Store(int32_t* p, I32 v) { std::memcpy(p, &v, sizeof v); }

PYASR_INLINE F64 Load(const double* p) {
  F64 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

PYASR_INLINE void Store(double* p, F64 v) { std::memcpy(p, &v, sizeof v); }
PYASR_INLINE void Store(int32_t* p, HalfI32 v) { std::memcpy(p, &v, sizeof v); }

PYASR_INLINE F32 Fill(float x) { return x - F32{}; }  // - 0, unlike + 0, leaves every x as it is, -0 too
PYASR_INLINE I32 Fill(int32_t x) { return x - I32{}; }
PYASR_INLINE F64 Fill(double x) { return x - F64{}; }

// Towards zero; for numbers that int32 holds.
PYASR_INLINE HalfI32 ToInt32(F64 v) { return __builtin_convertvector(v, HalfI32); }

// The kLanes64 floats of p that `index` names. (Element by element: on Zen 4 faster than the instruction for it.)
PYASR_INLINE F64 Gather(const float* p, const int32_t* index) {
  typedef float HalfF32 __attribute__((vector_size(4 * kLanes64)));
  HalfF32 v;
  for (int i = 0; i < kLanes64; ++i) v[i] = p[index[i]];
  return __builtin_convertvector(v, F64);
}

// v moved up by one lane, the last one of `before` moved in.
PYASR_INLINE F64 Shift(F64 before, F64 v) {
#if defined(__AVX512F__)
  return (F64)_mm512_maskz_alignr_epi64(0xff, (__m512i)v, (__m512i)before, 7);  // GCC 12 warns of the unmasked one
#elif defined(__AVX2__)
  return (F64)_mm256_shuffle_pd(_mm256_permute2f128_pd((__m256d)before, (__m256d)v, 0x21), (__m256d)v, 5);
#else
  F64 shifted = v;
  for (int i = 1; i < kLanes64; ++i) shifted[i] = v[i - 1];
  shifted[0] = before[kLanes64 - 1];
  return shifted;
#endif
}

// kLanes floats of which p holds the upper halves (bfloat16).
PYASR_INLINE F32 LoadUpperHalves(const uint16_t* p) {
  typedef uint16_t U16 __attribute__((vector_size(2 * kLanes)));
  U16 halves;
  std::memcpy(&halves, p, sizeof halves);
  const I32 bits = __builtin_convertvector(halves, I32) << 16;
  F32 v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// The first `count` >= 1 lanes, all of them from kLanes on; those behind are read as 0 and not written.
PYASR_INLINE F32 LoadFirst(const float* p, int64_t count) {
  if (count >= kLanes) return Load(p);
  F32 v{};
  std::memcpy(&v, p, static_cast<size_t>(count) * sizeof *p);
  return v;
}

PYASR_INLINE void StoreFirst(float* p, F32 v, int64_t count) {
  if (count >= kLanes) return Store(p, v);
  std::memcpy(p, &v, static_cast<size_t>(count) * sizeof *p);
}

PYASR_INLINE I32 Bits(F32 v) {
  I32 bits;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}

PYASR_INLINE F32 FromBits(I32 bits) {
  F32 v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

PYASR_INLINE F32 ToFloat(I32 v) { return __builtin_convertvector(v, F32); }

// The nearest integer, of two equally near the even one; for |v| < 2^31.
PYASR_INLINE I32 Round(F32 v) {
#if defined(__AVX512F__)
  return (I32)_mm512_maskz_cvtps_epi32(0xffff, (__m512)v);  // GCC 12 warns in its own header of the unmasked one
#elif defined(__AVX2__)
  return (I32)_mm256_cvtps_epi32((__m256)v);
#elif defined(__SSE2__)
  return (I32)_mm_cvtps_epi32((__m128)v);
#else
  I32 rounded;
  for (int i = 0; i < kLanes; ++i) rounded[i] = static_cast<int32_t>(__builtin_rintf(v[i]));
  return rounded;
#endif
}

// 2 kLanes signed bytes, each as an int16.
PYASR_INLINE I16 LoadWiden(const int8_t* p) {
#if defined(__AVX512F__)
  return (I16)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  return (I16)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  typedef int8_t I8 __attribute__((vector_size(2 * kLanes)));
  I8 v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, I16);
#endif
}

// 2 kLanes bf16: the even ones (the lower halves of 32 bits) and the odd ones, each as a float.
PYASR_INLINE void LoadBf16(const uint16_t* p, F32& even, F32& odd) {
  I32 v;
  std::memcpy(&v, p, sizeof v);
  even = FromBits(v << 16);
  odd = FromBits(v & static_cast<int32_t>(0xffff0000u));
}

// c + the product of the even elements + that of the odd ones. Exact but for overflow of int32.
PYASR_INLINE I32 MultiplyAddPairs(I16 a, I16 b, I32 c) {
#if defined(__AVX512VNNI__)
  return (I32)_mm512_dpwssd_epi32((__m512i)c, (__m512i)a, (__m512i)b);
#elif defined(__AVX512F__)
  return c + (I32)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return c + (I32)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return c + (I32)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  for (int i = 0; i < kLanes; ++i) c[i] += a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
  return c;
#endif
}

#if defined(__AVX512VNNI__)
// c + the products of each four unsigned bytes of a with four signed ones of b; modulo 2^32.
PYASR_INLINE I32 MultiplyAddFours(I32 a, I32 b, I32 c) {
  return (I32)_mm512_dpbusd_epi32((__m512i)c, (__m512i)a, (__m512i)b);
}
#endif

// a b + c, rounded once where the set has it, twice in baseline.
PYASR_INLINE F32 Fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

PYASR_INLINE F64 Fma(F64 a, F64 b, F64 c) {
#if defined(__AVX512F__)
  return (F64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__)
  return (F64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
  return a * b + c;
#endif
}

// b where either is NaN, as in max(a, b) of x86 (which GCC does not find for every a > b ? a : b).
PYASR_INLINE F32 Max(F32 a, F32 b) {
#if defined(__AVX512F__)
  return (F32)_mm512_mask_max_ps((__m512)a, 0xFFFF, (__m512)a, (__m512)b);  // GCC 12 warns in _mm512_max_ps
#elif defined(__AVX2__)
  return (F32)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}
PYASR_INLINE F32 Min(F32 a, F32 b) { return a < b ? a : b; }
PYASR_INLINE F32 Abs(F32 v) { return FromBits(Bits(v) & 0x7fffffff); }
PYASR_INLINE F64 Max(F64 a, F64 b) { return a > b ? a : b; }
PYASR_INLINE F64 Min(F64 a, F64 b) { return a < b ? a : b; }

// The lanes where `mask` is -1, lowest bit first.
PYASR_INLINE uint32_t MaskBits(I32 mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)mask));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(mask[i] & 1) << i;
  return bits;
#endif
}

// The lanes where a > b.
PYASR_INLINE uint32_t GreaterBits(F32 a, F32 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);  // GCC 12 makes a vector of the comparison first
#else
  return MaskBits(a > b);
#endif
}

// The lanes where a <= b.
PYASR_INLINE uint32_t LessEqualBits(F64 a, F64 b) {
#if defined(__AVX512F__)
  return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LE_OQ);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_pd((__m256d)(a <= b)));
#else
  const I64 mask = a <= b;
  uint32_t bits = 0;
  for (int i = 0; i < kLanes64; ++i) bits |= static_cast<uint32_t>(mask[i] & 1) << i;
  return bits;
#endif
}

// Horizontal, in the fixed order of halving: the result depends on the set alone.
PYASR_INLINE float Sum(F32 v) {
  float part[kLanes];
  Store(part, v);
  for (int n = kLanes / 2; n; n /= 2) {
    for (int i = 0; i < n; ++i) part[i] += part[i + n];
  }
  return part[0];
}

PYASR_INLINE float MaxOf(F32 v) {
  float part[kLanes];
  Store(part, v);
  for (int n = kLanes / 2; n; n /= 2) {
    for (int i = 0; i < n; ++i) part[i] = part[i] > part[i + n] ? part[i] : part[i + n];
  }
  return part[0];
}

PYASR_INLINE double MinOf(F64 v) {
  double part[kLanes64];
  Store(part, v);
  for (int n = kLanes64 / 2; n; n /= 2) {
    for (int i = 0; i < n; ++i) part[i] = part[i] < part[i + n] ? part[i] : part[i + n];
  }
  return part[0];
}

}  // namespace PYASR_ISA
}  // namespace pyasr
