// One cell, for .cu files. In float32 with the functions of CUDA's library, within some roundings; with tensors of
// bfloat16, whose own rounding is 2^-9, by the fast exponential and division, within about 1e-6.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace pyasr {

// The order in which one direction visits time, as in lstm_cpu.cc.
struct LstmClock {
  int64_t frames;
  bool reverse;

  __device__ int64_t At(int64_t step) const { return reverse ? frames - 1 - step : step; }
  __device__ bool IsFirst(int64_t t, int64_t length) const { return t == (reverse ? length - 1 : 0); }
  __device__ bool IsLast(int64_t t, int64_t length) const { return t == (reverse ? 0 : length - 1); }
  __device__ int64_t Before(int64_t t) const { return reverse ? t + 1 : t - 1; }
  __device__ int64_t After(int64_t t) const { return reverse ? t - 1 : t + 1; }
};

__device__ inline int64_t LengthOf(const int64_t* lengths, int64_t n, int64_t frames) {
  const int64_t length = lengths[n];
  return length < 0 ? 0 : length < frames ? length : frames;
}

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
template <typename T>
__device__ inline T FromFloat(float x);
template <>
__device__ inline float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

template <typename T>
struct LstmFunctions {
  static __device__ float Sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
  static __device__ float Tanh(float x) { return tanhf(x); }
};
template <>
struct LstmFunctions<__nv_bfloat16> {
  static __device__ float Sigmoid(float x) {
    float power, result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.44269504f));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(1.0f + power));
    return result;
  }
  static __device__ float Tanh(float x) { return 2.0f * Sigmoid(2.0f * x) - 1.0f; }
};

struct LstmCell {
  float gates[4];
  float cell, output;
};

// From the sums of the gates i, f, g, o.
template <typename T>
__device__ inline LstmCell ForwardCell(const float* sums, float cell_before) {
  using F = LstmFunctions<T>;
  LstmCell c;
  c.gates[0] = F::Sigmoid(sums[0]);
  c.gates[1] = F::Sigmoid(sums[1]);
  c.gates[2] = F::Tanh(sums[2]);
  c.gates[3] = F::Sigmoid(sums[3]);
  c.cell = fmaf(c.gates[1], cell_before, c.gates[0] * c.gates[2]);
  c.output = c.gates[3] * F::Tanh(c.cell);
  return c;
}

struct LstmCellGradient {
  float gates[4];  // of their sums
  float cell;      // of the cell before
};

// As in lstm_backward.isa.cc. d_cell: the gradient that comes from the cell behind.
template <typename T>
__device__ inline LstmCellGradient BackwardCell(const float* gates, float cell_before, float cell, float d_output,
                                                float d_cell) {
  const float i = gates[0], f = gates[1], g = gates[2], o = gates[3];
  const float t = LstmFunctions<T>::Tanh(cell);
  const float d = fmaf(d_output * o, 1.0f - t * t, d_cell);
  return {
      {d * g * i * (1.0f - i), d * cell_before * f * (1.0f - f), d * i * (1.0f - g * g), d_output * t * o * (1.0f - o)},
      d * f};
}

}  // namespace pyasr
