#include "lstm/streaming_cuda.h"

#include "base/cuda_check.h"
#include "lstm/cells_cuda.h"

namespace pyasr {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kTogether = 4;  // streams that a warp multiplies at a time

__device__ __forceinline__ bool IsFinite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

__device__ __forceinline__ float SumOfWarp(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
}
__device__ __forceinline__ long long SumOfWarp(long long x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
}

// The same for all threads of a block.
template <typename F>
__device__ float Reduce(float x, const F& both) {
  __shared__ float parts[kThreads];
  parts[threadIdx.x] = x;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) parts[threadIdx.x] = both(parts[threadIdx.x], parts[threadIdx.x + half]);
  }
  __syncthreads();
  const float result = parts[0];
  __syncthreads();
  return result;
}

// Products of a row of weights with vectors, by one warp: how a precision reads them, kStep columns at a time.

struct Fp32 {
  static constexpr int kStep = 4;
  using Sum = float;
  using Weights = float4;
  static __device__ Weights Load(const void* row, int64_t column) {
    return __ldg(reinterpret_cast<const float4*>(static_cast<const float*>(row) + column));
  }
  static __device__ void Add(Sum* sum, const Weights& w, const StreamingVectors& x, int64_t n, int64_t column) {
    const float4 v = *reinterpret_cast<const float4*>(x.values + n * x.stride + column);
    *sum = fmaf(w.x, v.x, fmaf(w.y, v.y, fmaf(w.z, v.z, fmaf(w.w, v.w, *sum))));
  }
  static __device__ float Scaled(Sum sum, const StreamingMatrix&, int64_t, const StreamingVectors&, int64_t) {
    return sum;
  }
  static __device__ const void* Row(const StreamingMatrix& m, int64_t row) {
    return static_cast<const float*>(m.weights) + row * m.stride;
  }
};

struct Bf16Weights {
  static constexpr int kStep = 8;
  using Sum = float;
  using Weights = uint4;
  static __device__ Weights Load(const void* row, int64_t column) {
    return __ldg(reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(row) + column));
  }
  static __device__ void Add(Sum* sum, const Weights& w, const StreamingVectors& x, int64_t n, int64_t column) {
    const float4* const v = reinterpret_cast<const float4*>(x.values + n * x.stride + column);
    const float4 low = v[0], high = v[1];
    const auto pair = [&](uint32_t bits, float a, float b) {
      *sum = fmaf(__uint_as_float(bits << 16), a, fmaf(__uint_as_float(bits & 0xffff0000u), b, *sum));
    };
    pair(w.x, low.x, low.y), pair(w.y, low.z, low.w), pair(w.z, high.x, high.y), pair(w.w, high.z, high.w);
  }
  static __device__ float Scaled(Sum sum, const StreamingMatrix&, int64_t, const StreamingVectors&, int64_t) {
    return sum;
  }
  static __device__ const void* Row(const StreamingMatrix& m, int64_t row) {
    return static_cast<const uint16_t*>(m.weights) + row * m.stride;
  }
};

struct Int8Weights {
  static constexpr int kStep = 16;
  using Sum = long long;  // exact, however many columns
  using Weights = int4;
  static __device__ Weights Load(const void* row, int64_t column) {
    return __ldg(reinterpret_cast<const int4*>(static_cast<const int8_t*>(row) + column));
  }
  static __device__ void Add(Sum* sum, const Weights& w, const StreamingVectors& x, int64_t n, int64_t column) {
    const int4* const v = reinterpret_cast<const int4*>(x.quantised + n * x.stride + column);
    const int4 low = v[0], high = v[1];
    int part = __dp2a_lo(low.x, w.x, 0);  // 16 products of at most 127 * kInt8Levels
    part = __dp2a_hi(low.y, w.x, part);
    part = __dp2a_lo(low.z, w.y, part);
    part = __dp2a_hi(low.w, w.y, part);
    part = __dp2a_lo(high.x, w.z, part);
    part = __dp2a_hi(high.y, w.z, part);
    part = __dp2a_lo(high.z, w.w, part);
    part = __dp2a_hi(high.w, w.w, part);
    *sum += part;
  }
  static __device__ float Scaled(Sum sum, const StreamingMatrix& m, int64_t row, const StreamingVectors& x, int64_t n) {
    return static_cast<float>(static_cast<double>(sum) * (m.scale[row] * x.scale[n]));
  }
  static __device__ const void* Row(const StreamingMatrix& m, int64_t row) {
    return static_cast<const int8_t*>(m.weights) + row * m.stride;
  }
};

// Adds the products of kRows rows, `row_step` apart, with vectors first .. first + kTogether to sums. A stream's sum is
// formed in the same order whatever its company.
template <typename P, int kRows>
__device__ __forceinline__ void Multiply(const StreamingMatrix& matrix, int64_t row, int64_t row_step, int64_t columns,
                                         const StreamingVectors& x, int64_t first, int64_t streams,
                                         float (&sums)[kRows][kTogether]) {
  const int lane = threadIdx.x % 32;
  typename P::Sum parts[kRows][kTogether] = {};
  for (int64_t column = lane * P::kStep; column < columns; column += 32 * P::kStep) {
    typename P::Weights w[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) w[r] = P::Load(P::Row(matrix, row + r * row_step), column);
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (first + i >= streams) break;
#pragma unroll
      for (int r = 0; r < kRows; ++r) P::Add(&parts[r][i], w[r], x, first + i, column);
    }
  }
#pragma unroll
  for (int i = 0; i < kTogether; ++i) {
    if (first + i >= streams) break;  // the same for the whole warp
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sums[r][i] += P::Scaled(SumOfWarp(parts[r][i]), matrix, row + r * row_step, x, first + i);
    }
  }
}

template <typename P>
__global__ void __launch_bounds__(kThreads)
    Cells(StreamingLayer layer, int64_t units, int64_t inputs, int64_t streams, StreamingVectors input,
          StreamingVectors before, const int32_t* good, float* cell, StreamingVectors output) {
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (unit >= units) return;  // the whole warp
  const int lane = threadIdx.x % 32;
  for (int64_t first = 0; first < streams; first += kTogether) {
    float sums[4][kTogether];
#pragma unroll
    for (int gate = 0; gate < 4; ++gate) {
      for (float& sum : sums[gate]) sum = layer.bias[gate * units + unit];
    }
    Multiply<P, 4>(layer.input, unit, units, inputs, input, first, streams, sums);
    Multiply<P, 4>(layer.recurrent, unit, units, units, before, first, streams, sums);
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int64_t n = first + i;
      if (lane != i || n >= streams) continue;
      const float own[4] = {sums[0][i], sums[1][i], sums[2][i], sums[3][i]};
      const LstmCell next = ForwardCell<float>(own, cell[n * units + unit]);
      output.values[n * output.stride + unit] = next.output;
      if (good[n]) cell[n * units + unit] = next.cell;
    }
  }
}

template <typename P>
__global__ void __launch_bounds__(kThreads)
    Linear(StreamingMatrix weight, const float* bias, int64_t outputs, int64_t units, int64_t streams,
           StreamingVectors input, float* y, int64_t y_stride) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= outputs) return;  // the whole warp
  const int lane = threadIdx.x % 32;
  for (int64_t first = 0; first < streams; first += kTogether) {
    float sums[1][kTogether];
    for (float& sum : sums[0]) sum = bias[row];
    Multiply<P, 1>(weight, row, 0, units, input, first, streams, sums);
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (lane == i && first + i < streams) y[(first + i) * y_stride + row] = sums[0][i];
    }
  }
}

// In place; a block a stream.
__global__ void __launch_bounds__(kThreads)
    LogSoftmax(float* y, int64_t y_stride, int64_t outputs, const int32_t* good) {
  float* const row = y + blockIdx.x * y_stride;
  float max = -INFINITY;
  for (int64_t i = threadIdx.x; i < outputs; i += kThreads) max = fmaxf(max, row[i]);
  max = Reduce(max, [](float a, float b) { return fmaxf(a, b); });
  float sum = 0;
  for (int64_t i = threadIdx.x; i < outputs; i += kThreads) sum += expf(row[i] - max);
  sum = Reduce(sum, [](float a, float b) { return a + b; });
  const float normaliser = good[blockIdx.x] ? static_cast<float>(log(static_cast<double>(sum))) : NAN;
  for (int64_t i = threadIdx.x; i < outputs; i += kThreads) row[i] = (row[i] - max) - normaliser;
}

__global__ void __launch_bounds__(kThreads)
    Start(const float* x, int64_t size, const float* hidden, const float* cell, int64_t layers, int64_t streams,
          int64_t units, float* before, int64_t stride, int32_t* good) {
  const int64_t n = blockIdx.x;
  bool finite = true;
  for (int64_t i = threadIdx.x; i < size; i += kThreads) finite &= IsFinite(x[n * size + i]);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const int64_t at = layer * streams + n;
    for (int64_t i = threadIdx.x; i < stride; i += kThreads) {
      const float h = i < units ? hidden[at * units + i] : 0.0f;
      finite &= IsFinite(h) && (i >= units || IsFinite(cell[at * units + i]));
      before[at * stride + i] = h;
    }
  }
  const bool all = __syncthreads_and(finite);
  if (threadIdx.x == 0) good[n] = all;
}

__global__ void __launch_bounds__(kThreads)
    Copy(const float* from, int64_t from_stride, int64_t size, StreamingVectors to) {
  for (int64_t i = threadIdx.x; i < to.stride; i += kThreads) {
    to.values[blockIdx.x * to.stride + i] = i < size ? from[blockIdx.x * from_stride + i] : 0.0f;
  }
}

__global__ void __launch_bounds__(kThreads) Quantise(StreamingVectors vectors) {
  const float* const x = vectors.values + blockIdx.x * vectors.stride;
  float max = 0, zeros = 0;
  for (int64_t i = threadIdx.x; i < vectors.stride; i += kThreads) {
    max = fmaxf(max, fabsf(x[i]));
    zeros += x[i] * 0.0f;  // NaN of NaN and of infinity
  }
  max = Reduce(max, [](float a, float b) { return fmaxf(a, b); });
  zeros = Reduce(zeros, [](float a, float b) { return a + b; });
  const bool small = max < 1e-30f;
  constexpr float kLevels = kInt8Levels;
  const float inverse = small ? 0.0f : kLevels / max;
  for (int64_t i = threadIdx.x; i < vectors.stride; i += kThreads) {
    vectors.quantised[blockIdx.x * vectors.stride + i] = static_cast<int16_t>(__float2int_rn(x[i] * inverse));
  }
  if (threadIdx.x == 0) vectors.scale[blockIdx.x] = (small ? 0.0f : max / kLevels) + zeros;
}

__global__ void __launch_bounds__(kThreads)
    Hidden(StreamingVectors hidden, int64_t units, const int32_t* good, float* y, int64_t y_stride) {
  for (int64_t i = threadIdx.x; i < units; i += kThreads) {
    y[blockIdx.x * y_stride + i] = good[blockIdx.x] ? hidden.values[blockIdx.x * hidden.stride + i] : NAN;
  }
}

__global__ void __launch_bounds__(kThreads)
    Finish(const float* last, int64_t stride, int64_t streams, int64_t units, const int32_t* good, float* hidden) {
  if (!good[blockIdx.x % streams]) return;
  for (int64_t i = threadIdx.x; i < units; i += kThreads) {
    hidden[blockIdx.x * units + i] = last[blockIdx.x * stride + i];
  }
}

unsigned WarpBlocks(int64_t rows) { return static_cast<unsigned>((rows + kWarps - 1) / kWarps); }

}  // namespace

void StreamingStart(const float* x, int64_t streams, int64_t frames, int64_t inputs, const float* hidden,
                    const float* cell, int64_t layers, int64_t units, float* before, int64_t stride, int32_t* good,
                    CudaStream stream) {
  Start<<<static_cast<unsigned>(streams), kThreads, 0, stream>>>(x, frames * inputs, hidden, cell, layers, streams,
                                                                 units, before, stride, good);
  CheckLaunch("streaming start");
}

void StreamingCopy(const float* from, int64_t from_stride, int64_t streams, int64_t size, const StreamingVectors& to,
                   CudaStream stream) {
  Copy<<<static_cast<unsigned>(streams), kThreads, 0, stream>>>(from, from_stride, size, to);
  CheckLaunch("streaming copy");
}

void StreamingQuantise(const StreamingVectors& vectors, int64_t streams, CudaStream stream) {
  Quantise<<<static_cast<unsigned>(streams), kThreads, 0, stream>>>(vectors);
  CheckLaunch("streaming quantise");
}

void StreamingCells(Precision precision, const StreamingLayer& layer, int64_t units, int64_t inputs, int64_t streams,
                    const StreamingVectors& input, const StreamingVectors& before, const int32_t* good, float* cell,
                    const StreamingVectors& output, CudaStream stream) {
  const auto kernel = precision == Precision::kFp32   ? Cells<Fp32>
                      : precision == Precision::kBf16 ? Cells<Bf16Weights>
                                                      : Cells<Int8Weights>;
  kernel<<<WarpBlocks(units), kThreads, 0, stream>>>(layer, units, inputs, streams, input, before, good, cell, output);
  CheckLaunch("streaming cells");
}

void StreamingOutput(Precision precision, const StreamingMatrix& weight, const float* bias, int64_t outputs,
                     int64_t units, int64_t streams, const StreamingVectors& input, const int32_t* good, float* y,
                     int64_t y_stride, CudaStream stream) {
  const auto kernel = precision == Precision::kFp32   ? Linear<Fp32>
                      : precision == Precision::kBf16 ? Linear<Bf16Weights>
                                                      : Linear<Int8Weights>;
  kernel<<<WarpBlocks(outputs), kThreads, 0, stream>>>(weight, bias, outputs, units, streams, input, y, y_stride);
  CheckLaunch("streaming output");
  LogSoftmax<<<static_cast<unsigned>(streams), kThreads, 0, stream>>>(y, y_stride, outputs, good);
  CheckLaunch("streaming log-softmax");
}

void StreamingHidden(const StreamingVectors& hidden, int64_t units, int64_t streams, const int32_t* good, float* y,
                     int64_t y_stride, CudaStream stream) {
  Hidden<<<static_cast<unsigned>(streams), kThreads, 0, stream>>>(hidden, units, good, y, y_stride);
  CheckLaunch("streaming hidden");
}

void StreamingFinish(const float* last, int64_t stride, int64_t layers, int64_t streams, int64_t units,
                     const int32_t* good, float* hidden, CudaStream stream) {
  Finish<<<static_cast<unsigned>(layers * streams), kThreads, 0, stream>>>(last, stride, streams, units, good, hidden);
  CheckLaunch("streaming finish");
}

}  // namespace pyasr
