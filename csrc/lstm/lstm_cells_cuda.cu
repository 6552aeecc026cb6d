// The cells of lstm_cuda.h, step by step: one thread a unit of a sequence.
#include "base/cuda_check.h"
#include "lstm/cells_cuda.h"
#include "lstm/lstm_cuda.h"

namespace pyasr {
namespace {

constexpr int kThreads = 256;

struct Frame {
  LstmShape shape;
  const int64_t* lengths;
  bool reverse;
  int64_t step;
};

__global__ void Start(int64_t size, const void* first_state, const float* first_cell, void* last_state,
                      float* last_cell, int bytes) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= size) return;
  last_cell[i] = first_cell[i];
  if (bytes == 4) {
    static_cast<float*>(last_state)[i] = static_cast<const float*>(first_state)[i];
  } else {
    static_cast<uint16_t*>(last_state)[i] = static_cast<const uint16_t*>(first_state)[i];
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) Forward(Frame frame, const T* __restrict__ recurrent, LstmCudaForward d) {
  const auto [frames, batch, units, directions] = frame.shape;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= batch * units) return;
  const int64_t n = i / units, u = i % units;
  const LstmClock clock{frames, frame.reverse};
  const int64_t t = clock.At(frame.step), row = t * batch + n;
  T* const output = static_cast<T*>(d.output) + row * directions * units + u;
  if (t >= LengthOf(frame.lengths, n, frames)) {
    *output = FromFloat<T>(0.0f);
    return;
  }
  float sums[4];
  for (int gate = 0; gate < 4; ++gate) {
    const int64_t at = gate * units + u;
    sums[gate] =
        ToFloat(static_cast<const T*>(d.projected)[row * 4 * units + at]) + ToFloat(recurrent[n * 4 * units + at]);
  }
  const LstmCell cell = ForwardCell<T>(sums, d.last_cell[i]);
  d.last_cell[i] = cell.cell;
  static_cast<T*>(d.last_state)[i] = *output = FromFloat<T>(cell.output);
  if (d.cells != nullptr) d.cells[row * units + u] = cell.cell;
  if (d.gates == nullptr) return;
  for (int gate = 0; gate < 4; ++gate) {
    static_cast<T*>(d.gates)[row * 4 * units + gate * units + u] = FromFloat<T>(cell.gates[gate]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) Backward(Frame frame, const T* __restrict__ from_next, LstmCudaBackward d) {
  const auto [frames, batch, units, directions] = frame.shape;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= batch * units) return;
  const int64_t n = i / units, u = i % units;
  const LstmClock clock{frames, frame.reverse};
  const int64_t t = clock.At(frame.step), row = t * batch + n, length = LengthOf(frame.lengths, n, frames);
  T* const d_gates = static_cast<T*>(d.d_projected) + row * 4 * units + u;
  LstmCellGradient gradient{};
  if (t < length) {
    float gates[4];
    for (int gate = 0; gate < 4; ++gate) {
      gates[gate] = ToFloat(static_cast<const T*>(d.gates)[row * 4 * units + gate * units + u]);
    }
    const bool first = clock.IsFirst(t, length), last = clock.IsLast(t, length);
    const float before = first ? d.first_cell[i] : d.cells[(clock.Before(t) * batch + n) * units + u];
    const float d_output = ToFloat(static_cast<const T*>(d.d_output)[row * directions * units + u]) +
                           ToFloat(last ? static_cast<const T*>(d.d_last_state)[i] : from_next[i]);
    gradient = BackwardCell<T>(gates, before, d.cells[row * units + u], d_output, d.d_first_cell[i]);
    d.d_first_cell[i] = gradient.cell;
  }
  for (int gate = 0; gate < 4; ++gate) d_gates[gate * units] = FromFloat<T>(gradient.gates[gate]);
}

unsigned Blocks(const LstmShape& shape) {
  return static_cast<unsigned>((shape.batch * shape.units + kThreads - 1) / kThreads);
}

}  // namespace

void LstmCellStart(LstmType type, const LstmShape& shape, const LstmCudaForward& d, CudaStream stream) {
  if (Blocks(shape) == 0) return;
  Start<<<Blocks(shape), kThreads, 0, stream>>>(shape.batch * shape.units, d.first_state, d.first_cell, d.last_state,
                                                d.last_cell, type == LstmType::kFloat32 ? 4 : 2);
  CheckLaunch("LSTM start");
}

void LstmCellForward(LstmType type, const LstmShape& shape, bool reverse, int64_t step, const int64_t* lengths,
                     const void* recurrent, const LstmCudaForward& d, CudaStream stream) {
  if (Blocks(shape) == 0) return;
  const Frame frame{shape, lengths, reverse, step};
  if (type == LstmType::kFloat32) {
    Forward<float><<<Blocks(shape), kThreads, 0, stream>>>(frame, static_cast<const float*>(recurrent), d);
  } else {
    Forward<__nv_bfloat16>
        <<<Blocks(shape), kThreads, 0, stream>>>(frame, static_cast<const __nv_bfloat16*>(recurrent), d);
  }
  CheckLaunch("LSTM cells");
}

void LstmCellBackwardStart(const LstmShape& shape, const LstmCudaBackward& d, CudaStream stream) {
  CheckCuda(cudaMemcpyAsync(d.d_first_cell, d.d_last_cell, shape.batch * shape.units * sizeof(float),
                            cudaMemcpyDeviceToDevice, stream),
            "copying the cells' gradients");
}

void LstmCellBackward(LstmType type, const LstmShape& shape, bool reverse, int64_t step, const int64_t* lengths,
                      const void* from_next, const LstmCudaBackward& d, CudaStream stream) {
  if (Blocks(shape) == 0) return;
  const Frame frame{shape, lengths, reverse, step};
  if (type == LstmType::kFloat32) {
    Backward<float><<<Blocks(shape), kThreads, 0, stream>>>(frame, static_cast<const float*>(from_next), d);
  } else {
    Backward<__nv_bfloat16>
        <<<Blocks(shape), kThreads, 0, stream>>>(frame, static_cast<const __nv_bfloat16*>(from_next), d);
  }
  CheckLaunch("LSTM cells, backward");
}

}  // namespace pyasr
