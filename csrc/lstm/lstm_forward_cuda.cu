// The persistent forward kernel of lstm_cuda.h.
#include "base/check.h"
#include "lstm/cells_cuda.h"
#include "lstm/persistent_cuda.h"

namespace pyasr {
namespace {

struct Directions {
  LstmCudaForward at[2];
};

// Block (x, y, z): units x kUnits on, sequences y rows on, direction z.
template <int kUnits, int kTiles>
__global__ void __launch_bounds__(kLstmThreads, 1)
    Forward(LstmShape shape, const int64_t* __restrict__ lengths, int rows_of_group, Directions directions,
            unsigned* counters) {
  constexpr int kColumns = 4 * kUnits, kRows = 16 * kTiles;
  constexpr int kCells = kRows * kUnits / kLstmThreads;  // of a thread and a round
  using T = __nv_bfloat16;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* const weights = reinterpret_cast<T*>(shared);
  auto* const sums = reinterpret_cast<float*>(shared + LstmWeightBytes(kColumns, shape.units));
  const int frames = static_cast<int>(shape.frames), batch = static_cast<int>(shape.batch);
  const int units = static_cast<int>(shape.units);
  const int64_t output_width = shape.directions * shape.units;
  const LstmCudaForward& d = directions.at[blockIdx.z];
  const LstmClock clock{frames, blockIdx.z == 1};
  const int first_unit = static_cast<int>(blockIdx.x) * kUnits;
  const int first_row = static_cast<int>(blockIdx.y) * rows_of_group, end_row = min(batch, first_row + rows_of_group);
  unsigned* const counter = counters + (blockIdx.z * gridDim.y + blockIdx.y) * (kLstmCounterBytes / sizeof(unsigned));
  const int thread = threadIdx.x, lane = thread % 32;
  auto* const output = static_cast<T*>(d.output);
  const auto* const first_state = static_cast<const T*>(d.first_state);
  const auto* const projected = static_cast<const T*>(d.projected);

  // Row gate * kUnits + u: the weights of a unit's gate; zeros behind the last unit and column.
  const int width = LstmWidth(units);
  for (int i = thread; i < kColumns * (width / 8); i += kLstmThreads) {
    const int row = i / (width / 8), column = i % (width / 8) * 8, unit = first_unit + row % kUnits;
    const bool inside = unit < units && column < units;
    const int64_t at = (static_cast<int64_t>(row / kUnits) * units + unit) * units + column;
    *reinterpret_cast<uint4*>(weights + row * width + column) =
        inside ? *reinterpret_cast<const uint4*>(static_cast<const T*>(d.weight_hh) + at) : make_uint4(0, 0, 0, 0);
  }
  for (int i = thread; i < rows_of_group * kUnits; i += kLstmThreads) {  // those of this thread's cells
    const int n = first_row + i / kUnits, unit = first_unit + i % kUnits;
    if (n >= end_row || unit >= units) continue;
    const int64_t at = static_cast<int64_t>(n) * units + unit;
    d.last_cell[at] = d.first_cell[at];
    static_cast<T*>(d.last_state)[at] = first_state[at];
  }
  __syncthreads();

  for (int step = 0; step < frames; ++step) {
    const int64_t t = clock.At(step), before = clock.Before(t);
    for (int base = first_row; base < end_row; base += kRows) {
      // What does not wait for other blocks.
      float input[kCells][4], cell_before[kCells];
      int length[kCells];
#pragma unroll
      for (int c = 0; c < kCells; ++c) {
        const int i = c * kLstmThreads + thread, n = base + i / kUnits, unit = first_unit + i % kUnits;
        length[c] = n < end_row && unit < units ? static_cast<int>(LengthOf(lengths, n, frames)) : -1;
        cell_before[c] = 0;
        if (t < length[c]) cell_before[c] = d.last_cell[static_cast<int64_t>(n) * units + unit];
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          input[c][gate] = 0;
          if (t < length[c]) input[c][gate] = ToFloat(projected[(t * batch + n) * 4 * units + gate * units + unit]);
        }
      }
      const T* rows[2 * kTiles];
#pragma unroll
      for (int r = 0; r < 2 * kTiles; ++r) {
        const int n = base + 8 * r + lane / 4;
        const int64_t end = n < end_row ? LengthOf(lengths, n, frames) : 0;
        rows[r] = t >= end                ? nullptr
                  : clock.IsFirst(t, end) ? first_state + static_cast<int64_t>(n) * units
                                          : output + (before * batch + n) * output_width;
      }
      if (step > 0 && base == first_row) WaitFor(counter, static_cast<unsigned>(step) * gridDim.x);
      MultiplyRows<kTiles, kColumns>(rows, units, weights, sums);
      __syncthreads();
#pragma unroll
      for (int c = 0; c < kCells; ++c) {
        if (length[c] < 0) continue;
        const int i = c * kLstmThreads + thread, n = base + i / kUnits, unit = first_unit + i % kUnits;
        const int64_t row = t * batch + n, at = static_cast<int64_t>(n) * units + unit;
        T* const to = output + row * output_width + unit;
        if (t >= length[c]) {
          *to = FromFloat<T>(0.0f);
          continue;
        }
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          input[c][gate] += SumOfWarps<kTiles, kColumns>(sums, i / kUnits, gate * kUnits + i % kUnits);
        }
        const LstmCell cell = ForwardCell<T>(input[c], cell_before[c]);
        const T h = FromFloat<T>(cell.output);
        *to = h;
        d.last_cell[at] = cell.cell;
        if (clock.IsLast(t, length[c])) static_cast<T*>(d.last_state)[at] = h;
        if (d.cells != nullptr) d.cells[row * units + unit] = cell.cell;
        if (d.gates == nullptr) continue;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          static_cast<T*>(d.gates)[(row * 4 + gate) * units + unit] = FromFloat<T>(cell.gates[gate]);
        }
      }
      if (base + kRows < end_row) __syncthreads();  // the sums are read
    }
    Arrive(counter);
  }
}

}  // namespace

LstmPlan PlanLstmForward(const LstmShape& shape) { return PlanLstm(shape, 1, 4); }

void LstmPersistentForward(const LstmShape& shape, const int64_t* lengths, const LstmCudaForward* directions,
                           void* scratch, CudaStream stream) {
  const LstmPlan plan = PlanLstmForward(shape);
  PYASR_CHECK(plan.units > 0, "the persistent LSTM cannot run ", shape.units, " units in ", shape.directions,
              " directions here");
  Directions all{};
  for (int64_t d = 0; d < shape.directions; ++d) all.at[d] = directions[d];
  CheckCuda(cudaMemsetAsync(scratch, 0, kLstmScratchBytes, stream), "clearing the counters of barriers");
  auto* const counters = static_cast<unsigned*>(scratch);
  const auto kernel = plan.units == 32 ? (plan.tiles == 2 ? Forward<32, 2> : Forward<32, 1>)
                                       : (plan.tiles == 2 ? Forward<16, 2> : Forward<16, 1>);
  LaunchTogether(kernel, plan, shape.directions, stream, shape, lengths, plan.rows, all, counters);
}

}  // namespace pyasr
