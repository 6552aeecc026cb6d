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

using Parts = LstmParts<LstmCudaBackward>;

// By the cell threads.
template <int kTile>
__device__ __forceinline__ void ComputeCells(const LstmShape& shape, const int64_t* lengths, const LstmHopperPlan& plan,
                                             const LstmPart<LstmCudaBackward>& part, const Scratch& space,
                                             Shared<kTile>& shared) {
  using Own = CellsOf<kTile>;
  constexpr int kOf = Own::kOf, kPasses = Own::kPasses;
  const Own own(plan.rows);
  const LstmCudaBackward& d = part.tensors;
  const int frames = static_cast<int>(shape.frames), batch = static_cast<int>(shape.batch);
  const int units = static_cast<int>(shape.units), unit = own.unit;
  const LstmClock clock{frames, part.reverse};
  // How many sequences there are for this thread: none where the last cluster has more units than the layer.
  const int end_row = unit < units ? batch : 0, end = part.first + part.count;
  const int gate_size = units * kTile;  // of a tile

  for (int tile = 0; tile < plan.tiles; ++tile) {  // the gradients of the frame behind
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int n = own.Sequence(tile, pass);
      if (n >= end_row) continue;
      const int64_t state = static_cast<int64_t>(n) * units + unit;
      if (end == frames) Store(d.d_first_cell, state, LoadFloats<kOf>(d.d_last_cell, state));
#pragma unroll
      for (int gate = 0; gate < 4; ++gate) {
        Halves<kOf> behind{};
        if (end < frames) {
          behind = LoadHalves<kOf>(d.d_projected, ((clock.At(end) * batch + n) * 4 + gate) * units + unit);
        }
        Store(space.Tile(0, tile), gate * gate_size + own.places[pass], behind);
      }
    }
  }
  SyncCellThreads();
  CountWritten(&shared.written, plan.tiles);
  unsigned number = 0;
  for (int done = 0; done < part.count; ++done) {
    const int64_t t = clock.At(end - 1 - done), before = clock.Before(t);
    for (int tile = 0; tile < plan.tiles; ++tile, ++number) {
      if (threadIdx.x == kMultipliers) ArriveExpecting(&shared.sums_full, kTile * kRows * sizeof(float));
      // What waits neither for the sums nor for the length.
      Halves<kOf> gates[kPasses][4], d_output[kPasses];
      Floats<kOf> cell[kPasses], cell_before[kPasses], d_cell[kPasses];
      int length[kPasses];
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(tile, pass);
        length[pass] = -1;
        if (n >= end_row) continue;
        const int64_t row = t * batch + n, state = static_cast<int64_t>(n) * units + unit;
        length[pass] = static_cast<int>(LengthOf(lengths, n, frames));
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          gates[pass][gate] = LoadHalves<kOf>(d.gates, (row * 4 + gate) * units + unit);
        }
        cell[pass] = LoadFloats<kOf>(d.cells, row * units + unit);
        cell_before[pass] = done + 1 == end ? LoadFloats<kOf>(d.first_cell, state)
                                            : LoadFloats<kOf>(d.cells, (before * batch + n) * units + unit);
        d_output[pass] = LoadHalves<kOf>(d.d_output, row * shape.directions * units + unit);
        d_cell[pass] = LoadFloats<kOf>(d.d_first_cell, state);
      }
      // The next ones on their way from memory into the L2 cache.
      const int next_tile = tile + 1 < plan.tiles ? tile + 1 : 0, next_step = end - 1 - done - (next_tile == 0);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(next_tile, pass);
        if (n >= end_row || next_step < part.first) continue;
        const int64_t row = clock.At(next_step) * batch + n;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) Prefetch(d.gates, (row * 4 + gate) * units + unit);
        Prefetch(d.d_output, row * shape.directions * units + unit);
        if (next_step > 0) Prefetch(d.cells, (clock.At(next_step - 1) * batch + n) * units + unit);
      }
      WaitAt(&shared.sums_full, number % 2);
      Halves<kOf> d_gates[kPasses][4];
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(tile, pass);
        const int64_t state = static_cast<int64_t>(n) * units + unit;
        float d_hidden[kOf];
        Floats<kOf> sums[4];
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) sums[gate] = LoadFloats<kOf>(shared.sums, own.Sum(pass, gate));
#pragma unroll
        for (int i = 0; i < kOf; ++i) {
          d_hidden[i] = (sums[0].at[i] + sums[1].at[i]) + (sums[2].at[i] + sums[3].at[i]) + d_output[pass].Get(i);
        }
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) d_gates[pass][gate] = {};
        if (t < length[pass]) {
          if (clock.IsFirst(t, length[pass])) cell_before[pass] = LoadFloats<kOf>(d.first_cell, state);
          if (clock.IsLast(t, length[pass])) {
            const Halves<kOf> d_last = LoadHalves<kOf>(d.d_last_state, state);
#pragma unroll
            for (int i = 0; i < kOf; ++i) d_hidden[i] += d_last.Get(i);
          }
#pragma unroll
          for (int i = 0; i < kOf; ++i) {
            const float of_gates[4] = {gates[pass][0].Get(i), gates[pass][1].Get(i), gates[pass][2].Get(i),
                                       gates[pass][3].Get(i)};
            const LstmCellGradient gradient = BackwardCell<Half>(of_gates, cell_before[pass].at[i], cell[pass].at[i],
                                                                 d_hidden[i], d_cell[pass].at[i]);
            d_cell[pass].at[i] = gradient.cell;
#pragma unroll
            for (int gate = 0; gate < 4; ++gate) d_gates[pass][gate].Set(i, gradient.gates[gate]);
          }
        }
        if (n >= end_row) continue;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          Store(space.Tile((done + 1) % 2, tile), gate * gate_size + own.places[pass], d_gates[pass][gate]);
        }
      }
      CountWritten(&shared.written, 1);
      // After that: so that no warp goes on to the next tile before all have counted this one.
      ArriveAtCluster(&shared.sums_free, kClusterBlocks);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(tile, pass);
        if (n >= end_row) continue;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          Store(d.d_projected, ((t * batch + n) * 4 + gate) * units + unit, d_gates[pass][gate]);
        }
        if (t < length[pass]) Store(d.d_first_cell, static_cast<int64_t>(n) * units + unit, d_cell[pass]);
      }
    }
  }
}

// Block (x, y, z): cluster x / 4 has units 128 (x / 4) on, of which the block computes the cells of 32; sequences
// plan.rows y on, part z.
template <int kTile>
__global__ void __launch_bounds__(kThreads, 1)
    Backward(LstmShape shape, const int64_t* __restrict__ lengths, LstmHopperPlan plan,
             const __grid_constant__ Parts parts, unsigned char* scratch) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kTile>*>(memory);
  const LstmPart<LstmCudaBackward>& part = parts.at[blockIdx.z];
  const int units = static_cast<int>(shape.units), chunks = units / kChunk, thread = threadIdx.x;
  const unsigned gate = blockIdx.x % kClusterBlocks;  // whose product is this block's
  const int first_unit = static_cast<int>(blockIdx.x / kClusterBlocks) * kRows;
  const Scratch space(plan, scratch, units);

  if (thread == 0) InitShared(shared, 1, kCellThreads / 32 * kClusterBlocks);
  OwnWeights<kTile> own;
  LoadWeights<kTile>(
      shared, chunks,
      [&](int chunk, Half* to) {  // transposed: eight neighbours in memory are units
        for (int i = thread; i < kRows * kChunk / 8; i += kThreads) {
          const int column = i % kChunk, sum = i / kChunk * 8, unit = first_unit + sum;
          const int64_t row = static_cast<int64_t>(gate) * units + chunk * kChunk + column;
          Halves<8> eight{};
          if (unit < units) eight = LoadHalves<8>(part.tensors.weight_hh, row * units + unit);
#pragma unroll
          for (int u = 0; u < 8; ++u) to[Swizzled(RowOfSum(sum + u), column)] = FromFloat<Half>(eight.Get(u));
        }
      },
      &own);
  FenceShared();
  SyncCluster();

  if (thread >= kFetcher) {
    GiveRegistersBack<kOtherRegisters>();
    FetchAndAnnounce(shared, plan, part.count, space, gate * units * kTile, chunks);
  } else if (thread >= kMultipliers) {
    TakeRegisters<kCellRegisters>();
    ComputeCells<kTile>(shape, lengths, plan, part, space, shared);
  } else {
    TakeRegisters<kMultiplierRegisters>();
    MultiplyTiles<kTile>(
        shared, own, chunks, part.count * plan.tiles,
        [&](int row, int column, float2 two) {
          SendToBlock(shared.sums + row * kSumsWidth + gate * kUnits + column % kUnits, &shared.sums_full,
                      column / kUnits, two);
        },
        [] {});
  }
  __syncwarp();
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
                        int64_t scratch_bytes, CudaStream stream) {
  using namespace hopper;
  const LstmHopperPlan plan = PlanLstmHopperBackward(shape, static_cast<int64_t>(parts.size()), tile);
  const auto kernel = plan.tile == 64 ? Backward<64> : plan.tile == 32 ? Backward<32> : Backward<16>;
  Launch(kernel, shape, lengths, plan, kClusterBlocks, parts, scratch, scratch_bytes, stream);
}

}  // namespace pyasr
