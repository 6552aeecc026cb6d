// The persistent backward kernel of lstm_cuda.h for Hopper GPUs.
//
// The gradient of a frame's outputs is a product over the 4 H gates of the next frame. The four blocks of a cluster
// share it: each multiplies one gate of 128 units, and gives three quarters of its sums to the others, so that a block
// reads no more of what others have computed than forward, H values a sequence.
#include "lstm/hopper_cuda.h"
#include "lstm/hopper_plan.h"

namespace pyasr {
namespace hopper {
namespace {

using Part = LstmPart<LstmCudaBackward>;
using Parts = LstmParts<LstmCudaBackward>;

// Block (x, y, z): cluster x / 4 has units 128 (x / 4) on, of which the block computes the cells of 32; sequences
// plan.rows y on, part z.
template <int kTile>
__global__ void __launch_bounds__(kThreads, 1)
    Backward(LstmShape shape, const int64_t* __restrict__ lengths, LstmHopperPlan plan,
             const __grid_constant__ Parts parts, unsigned char* scratch) {
  constexpr int kOf = kTile * kUnits / kCellThreads;  // units of a sequence that a thread computes
  constexpr int kPerRow = kUnits / kOf;
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kTile>*>(memory);
  const Part& part = parts.at[blockIdx.z];
  const LstmCudaBackward& d = part.tensors;
  const int frames = static_cast<int>(shape.frames), batch = static_cast<int>(shape.batch);
  const int units = static_cast<int>(shape.units), chunks = units / kChunk;
  const LstmClock clock{frames, part.reverse};
  const int first_row = static_cast<int>(blockIdx.y) * plan.rows;
  const int thread = threadIdx.x, own_row = thread / kPerRow, own_column = thread % kPerRow * kOf;
  const unsigned rank = blockIdx.x % kClusterBlocks;  // the gate whose product is this block's
  const int first_unit = static_cast<int>(blockIdx.x / kClusterBlocks) * kRows;
  const int unit = static_cast<int>(blockIdx.x) * kUnits + own_column;
  const Scratch space(plan, scratch, chunks);
  const int gate_size = chunks * kTile * kChunk;  // of a tile
  const int place = unit / kChunk * kTile * kChunk + Swizzled(own_row, unit % kChunk);

  if (thread == 0) {
    for (int i = 0; i < kSlots<kTile>; ++i) InitBarrier(&shared.full[i], 1), InitBarrier(&shared.empty[i], 8);
    InitBarrier(&shared.sums_full, 1);
    InitBarrier(&shared.sums_free, 8 * kClusterBlocks);
    shared.written = 0;
    FenceShared();
  }
  OwnWeights<kTile> own;
  LoadWeights<kTile>(
      shared, chunks,
      [&](int chunk, Half* to) {  // transposed: eight neighbours in memory are units
        for (int i = thread; i < kRows * kChunk / 8; i += kThreads) {
          const int column = i % kChunk, sum = i / kChunk * 8, from = first_unit + sum;
          uint4 eight = make_uint4(0, 0, 0, 0);
          if (from < units) {
            eight = *reinterpret_cast<const uint4*>(static_cast<const Half*>(d.weight_hh) +
                                                    (static_cast<int64_t>(rank) * units + chunk * kChunk + column) * units + from);
          }
          const Half* const values = reinterpret_cast<const Half*>(&eight);
#pragma unroll
          for (int u = 0; u < 8; ++u) to[Swizzled(RowOfSum(sum + u), column)] = values[u];
        }
      },
      &own);
  FenceShared();
  SyncCluster();

  if (thread == kFetcher) {
    unsigned piece = 0;
    for (int done = 0; done < part.count; ++done) {
      for (int tile = 0; tile < plan.tiles; ++tile) {
        WaitForAll(space.Counter(tile), (done + 1) * gridDim.x);
        FetchTile(shared, space.Tile(done % 2, tile) + rank * gate_size, chunks, &piece);
      }
    }
  }
  if (thread == kAnnouncer) {
    for (int i = 0; i < (part.count + 1) * plan.tiles; ++i) Announce(&shared.written, i, space.Counter(i % plan.tiles));
  }
  if (thread >= kCellThreads) {
    __syncwarp();
    SyncCluster();
    return;
  }

  using Vector = Halves<kOf>;
  using Cells = Floats<kOf>;
  const auto load = [](const void* tensor, int64_t index) {
    return *reinterpret_cast<const Vector*>(static_cast<const Half*>(tensor) + index);
  };
  const auto load_cells = [](const float* tensor, int64_t index) {
    return *reinterpret_cast<const Cells*>(tensor + index);
  };
  const Vector zeros{};
  const int end = part.first + part.count;
  for (int tile = 0; tile < plan.tiles; ++tile) {  // the gradients of the frame behind
    const int n = first_row + tile * kTile + own_row;
    if (n < batch && unit < units) {
      const int64_t state = static_cast<int64_t>(n) * units + unit;
      if (end == frames) *reinterpret_cast<Cells*>(d.d_first_cell + state) = load_cells(d.d_last_cell, state);
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) {
        *reinterpret_cast<Vector*>(space.Tile(0, tile) + gate * gate_size + place) =
            end == frames ? zeros : load(d.d_projected, ((clock.At(end) * batch + n) * 4 + gate) * units + unit);
      }
    }
    CountWritten(&shared.written);
  }
  unsigned piece = 0, exchanged = 0;
  for (int done = 0; done < part.count; ++done) {
    const int64_t t = clock.At(end - 1 - done), before = clock.Before(t);
    for (int tile = 0; tile < plan.tiles; ++tile, ++exchanged) {
      const int n = first_row + tile * kTile + own_row;
      const bool mine = n < batch && unit < units;
      const int length = mine ? static_cast<int>(LengthOf(lengths, n, frames)) : -1;
      const int64_t row = t * batch + n, state = static_cast<int64_t>(n) * units + unit;
      // What does not wait for other blocks, nor for the length.
      Vector gates[4], d_output;
      Cells cell, cell_before, d_cell;
      if (mine) {
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) gates[gate] = load(d.gates, (row * 4 + gate) * units + unit);
        cell = load_cells(d.cells, row * units + unit);
        cell_before = done + 1 == end ? load_cells(d.first_cell, state)
                                      : load_cells(d.cells, (before * batch + n) * units + unit);
        d_output = load(d.d_output, row * shape.directions * units + unit);
        d_cell = load_cells(d.d_first_cell, state);
      }
      if (thread == 0) ArriveExpecting(&shared.sums_full, kTile * kRows * sizeof(float));
      float sums[kTile / 2];
      MultiplyTile<kTile>(shared, own, chunks, &piece, sums);
      WaitAt(&shared.sums_free, exchanged % 2 ^ 1);
      ForSums<kTile>(sums, [&](int r, int column, float2 two) {
        SendToBlock(shared.sums + r * kSumsWidth + rank * kUnits + column % kUnits, &shared.sums_full, column / kUnits,
                    two);
      });
      WaitAt(&shared.sums_full, exchanged % 2);
      float d_hidden[kOf];
#pragma unroll
      for (int i = 0; i < kOf; ++i) {
        const float* const parts_of_sum = shared.sums + own_row * kSumsWidth + own_column + i;
        d_hidden[i] = (parts_of_sum[0] + parts_of_sum[kUnits]) + (parts_of_sum[2 * kUnits] + parts_of_sum[3 * kUnits]);
      }
      ArriveAtCluster(&shared.sums_free);
      Vector d_gates[4] = {};
      if (t < length) {
        if (clock.IsFirst(t, length)) cell_before = load_cells(d.first_cell, state);
        const Vector d_last = clock.IsLast(t, length) ? load(d.d_last_state, state) : zeros;
#pragma unroll
        for (int i = 0; i < kOf; ++i) {
          const float of_gates[4] = {gates[0].Get(i), gates[1].Get(i), gates[2].Get(i), gates[3].Get(i)};
          const LstmCellGradient gradient =
              BackwardCell<Half>(of_gates, cell_before.at[i], cell.at[i],
                                 d_output.Get(i) + d_last.Get(i) + d_hidden[i], d_cell.at[i]);
          d_cell.at[i] = gradient.cell;
#pragma unroll
          for (int gate = 0; gate < 4; ++gate) d_gates[gate].Set(i, gradient.gates[gate]);
        }
      }
      if (mine) {
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          *reinterpret_cast<Vector*>(space.Tile((done + 1) % 2, tile) + gate * gate_size + place) = d_gates[gate];
        }
      }
      CountWritten(&shared.written);
      if (!mine) continue;
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) {
        *reinterpret_cast<Vector*>(static_cast<Half*>(d.d_projected) + (row * 4 + gate) * units + unit) = d_gates[gate];
      }
      if (t < length) *reinterpret_cast<Cells*>(d.d_first_cell + state) = d_cell;
    }
  }
  SyncCluster();  // others may still write here
}

}  // namespace
}  // namespace hopper

LstmHopperPlan PlanLstmHopperBackward(const LstmShape& shape, int64_t parts, int tile) {
  using namespace hopper;
  const int slices = static_cast<int>((shape.units + kRows - 1) / kRows) * kClusterBlocks;
  return Plan(shape, parts, slices, 4, tile, [&](int tile) {
    const auto kernel = tile == 64 ? Backward<64> : tile == 32 ? Backward<32> : Backward<16>;
    return MostClusters(kernel, tile, kClusterBlocks) * kClusterBlocks / slices;
  });
}

void LstmHopperBackward(const LstmShape& shape, const int64_t* lengths,
                        const std::vector<LstmPart<LstmCudaBackward>>& parts, int tile, void* scratch,
                        CudaStream stream) {
  using namespace hopper;
  const LstmHopperPlan plan = PlanLstmHopperBackward(shape, static_cast<int64_t>(parts.size()), tile);
  const auto kernel = plan.tile == 64 ? Backward<64> : plan.tile == 32 ? Backward<32> : Backward<16>;
  Launch(kernel, shape, lengths, plan, kClusterBlocks, parts, scratch, stream);
}

}  // namespace pyasr
