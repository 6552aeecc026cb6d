// The persistent forward kernel of lstm_cuda.h for Hopper GPUs.
#include "lstm/hopper_cuda.h"
#include "lstm/hopper_plan.h"

namespace pyasr {
namespace hopper {
namespace {

using Part = LstmPart<LstmCudaForward>;
using Parts = LstmParts<LstmCudaForward>;

// Block (x, y, z): units 32 x on, sequences plan.rows y on, part z.
template <int kTile>
__global__ void __launch_bounds__(kThreads, 1)
    Forward(LstmShape shape, const int64_t* __restrict__ lengths, LstmHopperPlan plan,
            const __grid_constant__ Parts parts, unsigned char* scratch) {
  constexpr int kOf = kTile * kUnits / kCellThreads;  // units of a sequence that a thread computes
  constexpr int kPerRow = kUnits / kOf;
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kTile>*>(memory);
  const Part& part = parts.at[blockIdx.z];
  const LstmCudaForward& d = part.tensors;
  const int frames = static_cast<int>(shape.frames), batch = static_cast<int>(shape.batch);
  const int units = static_cast<int>(shape.units), chunks = units / kChunk;
  const LstmClock clock{frames, part.reverse};
  const int first_row = static_cast<int>(blockIdx.y) * plan.rows;
  const int thread = threadIdx.x, own_row = thread / kPerRow, own_column = thread % kPerRow * kOf;
  const int unit = static_cast<int>(blockIdx.x) * kUnits + own_column;
  const Scratch space(plan, scratch, chunks);
  // Where this thread's units of a tile go, in a tile's pieces.
  const int place = unit / kChunk * kTile * kChunk + Swizzled(own_row, unit % kChunk);

  if (thread == 0) {
    for (int i = 0; i < kSlots<kTile>; ++i) InitBarrier(&shared.full[i], 1), InitBarrier(&shared.empty[i], 8);
    shared.written = 0;
    FenceShared();
  }
  OwnWeights<kTile> own;
  LoadWeights<kTile>(
      shared, chunks,
      [&](int chunk, Half* to) {
        for (int i = thread; i < kRows * kChunk / 8; i += kThreads) {
          const int row = i / (kChunk / 8), column = i % (kChunk / 8) * 8, sum = SumOfRow(row);
          const int64_t gate_unit = sum / kUnits * units + blockIdx.x * kUnits + sum % kUnits;
          *reinterpret_cast<uint4*>(to + Swizzled(row, column)) = *reinterpret_cast<const uint4*>(
              static_cast<const Half*>(d.weight_hh) + gate_unit * units + chunk * kChunk + column);
        }
      },
      &own);
  FenceShared();
  __syncthreads();

  if (thread == kFetcher) {
    unsigned piece = 0;
    for (int done = 0; done < part.count; ++done) {
      for (int tile = 0; tile < plan.tiles; ++tile) {
        WaitForAll(space.Counter(tile), (done + 1) * gridDim.x);
        FetchTile(shared, space.Tile(done % 2, tile), chunks, &piece);
      }
    }
  }
  if (thread == kAnnouncer) {
    for (int i = 0; i < (part.count + 1) * plan.tiles; ++i) Announce(&shared.written, i, space.Counter(i % plan.tiles));
  }
  if (thread >= kCellThreads) return;

  using Vector = Halves<kOf>;
  using Cells = Floats<kOf>;
  const auto at = [](void* tensor, int64_t index) {
    return reinterpret_cast<Vector*>(static_cast<Half*>(tensor) + index);
  };
  for (int tile = 0; tile < plan.tiles; ++tile) {
    const int n = first_row + tile * kTile + own_row;
    if (n < batch) {
      const int64_t state = static_cast<int64_t>(n) * units + unit;
      if (part.first == 0) {
        *at(d.last_state, state) = *reinterpret_cast<const Vector*>(static_cast<const Half*>(d.first_state) + state);
        *reinterpret_cast<Cells*>(d.last_cell + state) = *reinterpret_cast<const Cells*>(d.first_cell + state);
      }
      *reinterpret_cast<Vector*>(space.Tile(0, tile) + place) = *at(d.last_state, state);
    }
    CountWritten(&shared.written);
  }
  unsigned piece = 0;
  for (int done = 0; done < part.count; ++done) {
    const int t = static_cast<int>(clock.At(part.first + done));
    for (int tile = 0; tile < plan.tiles; ++tile) {
      const int n = first_row + tile * kTile + own_row;
      const int length = n < batch ? static_cast<int>(LengthOf(lengths, n, frames)) : -1;
      const int64_t row = static_cast<int64_t>(t) * batch + n, state = static_cast<int64_t>(n) * units + unit;
      // What does not wait for other blocks.
      Vector projected[4];
      Cells cell;
      if (n < batch) {
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          projected[gate] = *reinterpret_cast<const Vector*>(static_cast<const Half*>(d.projected) +
                                                            (row * 4 + gate) * units + unit);
        }
        cell = *reinterpret_cast<const Cells*>(d.last_cell + state);
      }
      float sums[kTile / 2];
      MultiplyTile<kTile>(shared, own, chunks, &piece, sums);
      SyncCellThreads();  // all have read the sums of the tile before
      ForSums<kTile>(sums, [&](int r, int column, float2 two) {
        *reinterpret_cast<float2*>(shared.sums + r * kSumsWidth + column) = two;
      });
      SyncCellThreads();
      Vector output{}, gates[4];
      if (t < length) {
#pragma unroll
        for (int i = 0; i < kOf; ++i) {
          float inputs[4];
#pragma unroll
          for (int gate = 0; gate < 4; ++gate) {
            inputs[gate] =
                projected[gate].Get(i) + shared.sums[own_row * kSumsWidth + gate * kUnits + own_column + i];
          }
          const LstmCell result = ForwardCell<Half>(inputs, cell.at[i]);
          cell.at[i] = result.cell;
          output.Set(i, result.output);
#pragma unroll
          for (int gate = 0; gate < 4; ++gate) gates[gate].Set(i, result.gates[gate]);
        }
      }
      if (n < batch) {  // where there is no such frame the state stays, for a reverse direction that has not begun
        *reinterpret_cast<Vector*>(space.Tile((done + 1) % 2, tile) + place) =
            t < length ? output : *at(d.last_state, state);
      }
      CountWritten(&shared.written);
      if (n < batch) *at(d.output, row * shape.directions * units + unit) = output;
      if (t >= length) continue;
      *reinterpret_cast<Cells*>(d.last_cell + state) = cell;
      if (clock.IsLast(t, length) || done + 1 == part.count) *at(d.last_state, state) = output;
      if (d.cells != nullptr) *reinterpret_cast<Cells*>(d.cells + row * units + unit) = cell;
      if (d.gates == nullptr) continue;
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) *at(d.gates, (row * 4 + gate) * units + unit) = gates[gate];
    }
  }
}

}  // namespace
}  // namespace hopper

LstmHopperPlan PlanLstmHopperForward(const LstmShape& shape, int64_t parts, int tile) {
  using namespace hopper;
  const int slices = static_cast<int>(shape.units / kUnits);
  return Plan(shape, parts, slices, 1, tile, [&](int) { return NumProcessors() / slices; });
}

void LstmHopperForward(const LstmShape& shape, const int64_t* lengths, const std::vector<LstmPart<LstmCudaForward>>& parts,
                       int tile, void* scratch, CudaStream stream) {
  using namespace hopper;
  const LstmHopperPlan plan = PlanLstmHopperForward(shape, static_cast<int64_t>(parts.size()), tile);
  const auto kernel = plan.tile == 64 ? Forward<64> : plan.tile == 32 ? Forward<32> : Forward<16>;
  Launch(kernel, shape, lengths, plan, 1, parts, scratch, stream);
}

}  // namespace pyasr
