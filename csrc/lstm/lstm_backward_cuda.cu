// The persistent backward kernel of lstm_cuda.h.
#include "base/check.h"
#include "lstm/cells_cuda.h"
#include "lstm/persistent_cuda.h"

namespace pyasr {
namespace {

struct Directions {
  LstmCudaBackward at[2];
};

// Block (x, y, z): units x kUnits on, sequences y rows on, direction z.
template <int kUnits, int kTiles>
__global__ void __launch_bounds__(kLstmThreads, 1)
    Backward(LstmShape shape, const int64_t* __restrict__ lengths, int rows_of_group, Directions directions,
             unsigned* counters) {
  constexpr int kRows = 16 * kTiles;
  constexpr int kCells = kRows * kUnits / kLstmThreads;  // of a thread and a round
  using T = __nv_bfloat16;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* const weights = reinterpret_cast<T*>(shared);
  auto* const sums = reinterpret_cast<float*>(shared + LstmWeightBytes(kUnits, 4 * shape.units));
  const int frames = static_cast<int>(shape.frames), batch = static_cast<int>(shape.batch);
  const int units = static_cast<int>(shape.units);
  const int64_t output_width = shape.directions * shape.units;
  const LstmCudaBackward& d = directions.at[blockIdx.z];
  const LstmClock clock{frames, blockIdx.z == 1};
  const int first_unit = static_cast<int>(blockIdx.x) * kUnits;
  const int first_row = static_cast<int>(blockIdx.y) * rows_of_group, end_row = min(batch, first_row + rows_of_group);
  unsigned* const counter = counters + (blockIdx.z * gridDim.y + blockIdx.y) * (kLstmCounterBytes / sizeof(unsigned));
  const int thread = threadIdx.x, lane = thread % 32;
  auto* const d_projected = static_cast<T*>(d.d_projected);
  const auto* const gates = static_cast<const T*>(d.gates);

  // Row u: the column of a unit in weight_hh (4 H, H); zeros behind the last unit and row.
  const int width = LstmWidth(4 * units);
#pragma unroll 4
  for (int i = thread; i < kUnits / 8 * width; i += kLstmThreads) {  // eight neighbours in memory are units
    const int own = i % (kUnits / 8) * 8, unit = first_unit + own, k = i / (kUnits / 8);
    const bool inside = unit < units && k < 4 * units;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (inside) {
      eight =
          *reinterpret_cast<const uint4*>(static_cast<const T*>(d.weight_hh) + static_cast<int64_t>(k) * units + unit);
    }
    const T* const values = reinterpret_cast<const T*>(&eight);
#pragma unroll
    for (int u = 0; u < 8; ++u) weights[(own + u) * width + k] = values[u];
  }
  for (int i = thread; i < rows_of_group * kUnits; i += kLstmThreads) {  // those of this thread's cells
    const int n = first_row + i / kUnits, unit = first_unit + i % kUnits;
    if (n >= end_row || unit >= units) continue;
    const int64_t at = static_cast<int64_t>(n) * units + unit;
    d.d_first_cell[at] = d.d_last_cell[at];
  }
  __syncthreads();

  for (int done = 0; done < frames; ++done) {
    const int64_t t = clock.At(frames - 1 - done), before = clock.Before(t), after = clock.After(t);
    for (int base = first_row; base < end_row; base += kRows) {
      // What does not wait for other blocks.
      float gate[kCells][4], cell[kCells], cell_before[kCells], d_output[kCells], d_cell[kCells];
      int length[kCells];
#pragma unroll
      for (int c = 0; c < kCells; ++c) {
        const int i = c * kLstmThreads + thread, n = base + i / kUnits, unit = first_unit + i % kUnits;
        length[c] = n < end_row && unit < units ? static_cast<int>(LengthOf(lengths, n, frames)) : -1;
        if (t >= length[c]) continue;
        const int64_t row = t * batch + n, at = static_cast<int64_t>(n) * units + unit;
#pragma unroll
        for (int g = 0; g < 4; ++g) gate[c][g] = ToFloat(gates[(row * 4 + g) * units + unit]);
        cell[c] = d.cells[row * units + unit];
        cell_before[c] = clock.IsFirst(t, length[c]) ? d.first_cell[at] : d.cells[(before * batch + n) * units + unit];
        d_output[c] = ToFloat(static_cast<const T*>(d.d_output)[row * output_width + unit]);
        if (clock.IsLast(t, length[c])) d_output[c] += ToFloat(static_cast<const T*>(d.d_last_state)[at]);
        d_cell[c] = d.d_first_cell[at];
      }
      const T* rows[2 * kTiles];
#pragma unroll
      for (int r = 0; r < 2 * kTiles; ++r) {
        const int n = base + 8 * r + lane / 4;
        const int64_t end = n < end_row ? LengthOf(lengths, n, frames) : 0;
        rows[r] = t >= end || clock.IsLast(t, end) ? nullptr : d_projected + (after * batch + n) * 4 * units;
      }
      if (done > 0 && base == first_row) WaitFor(counter, static_cast<unsigned>(done) * gridDim.x);
      MultiplyRows<kTiles, kUnits>(rows, 4 * units, weights, sums);
      __syncthreads();
#pragma unroll
      for (int c = 0; c < kCells; ++c) {
        if (length[c] < 0) continue;
        const int i = c * kLstmThreads + thread, n = base + i / kUnits, unit = first_unit + i % kUnits;
        const int64_t row = t * batch + n;
        LstmCellGradient gradient{};
        if (t < length[c]) {
          d_output[c] += SumOfWarps<kTiles, kUnits>(sums, i / kUnits, i % kUnits);
          gradient = BackwardCell<T>(gate[c], cell_before[c], cell[c], d_output[c], d_cell[c]);
          d.d_first_cell[static_cast<int64_t>(n) * units + unit] = gradient.cell;
        }
#pragma unroll
        for (int g = 0; g < 4; ++g) d_projected[(row * 4 + g) * units + unit] = FromFloat<T>(gradient.gates[g]);
      }
      if (base + kRows < end_row) __syncthreads();  // the sums are read
    }
    Arrive(counter);
  }
}

}  // namespace

LstmPlan PlanLstmBackward(const LstmShape& shape) { return PlanLstm(shape, 4, 1); }

void LstmPersistentBackward(const LstmShape& shape, const int64_t* lengths, const LstmCudaBackward* directions,
                            void* scratch, CudaStream stream) {
  const LstmPlan plan = PlanLstmBackward(shape);
  PYASR_CHECK(plan.units > 0, "the persistent LSTM cannot run ", shape.units, " units in ", shape.directions,
              " directions backwards here");
  Directions all{};
  for (int64_t d = 0; d < shape.directions; ++d) all.at[d] = directions[d];
  CheckCuda(cudaMemsetAsync(scratch, 0, kLstmScratchBytes, stream), "clearing the counters of barriers");
  auto* const counters = static_cast<unsigned*>(scratch);
  const auto kernel = plan.units == 32 ? (plan.tiles == 2 ? Backward<32, 2> : Backward<32, 1>)
                                       : (plan.tiles == 2 ? Backward<16, 2> : Backward<16, 1>);
  LaunchTogether(kernel, plan, shape.directions, stream, shape, lengths, plan.rows, all, counters);
}

}  // namespace pyasr
