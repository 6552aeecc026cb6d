// The persistent forward kernel of lstm_cuda.h for Hopper GPUs.
#include "lstm/hopper_cuda.h"
#include "lstm/hopper_plan.h"

namespace pyasr {
namespace hopper {
namespace {

using Parts = LstmParts<LstmCudaForward>;

// By the cell threads.
template <int kTile>
__device__ __forceinline__ void ComputeCells(const LstmShape& shape, const int64_t* lengths, const LstmHopperPlan& plan,
                                             const LstmPart<LstmCudaForward>& part, const Scratch& space,
                                             Shared<kTile>& shared) {
  using Own = CellsOf<kTile>;
  constexpr int kOf = Own::kOf, kPasses = Own::kPasses;
  const Own own(plan.rows);
  const LstmCudaForward& d = part.tensors;
  const int frames = static_cast<int>(shape.frames), batch = static_cast<int>(shape.batch);
  const int units = static_cast<int>(shape.units), unit = own.unit;
  const LstmClock clock{frames, part.reverse};

  for (int tile = 0; tile < plan.tiles; ++tile) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int n = own.Sequence(tile, pass);
      if (n >= batch) continue;
      const int64_t state = static_cast<int64_t>(n) * units + unit;
      if (part.first == 0) {
        Store(d.last_state, state, LoadHalves<kOf>(d.first_state, state));
        Store(d.last_cell, state, LoadFloats<kOf>(d.first_cell, state));
      }
      Store(space.Tile(0, tile), own.places[pass], LoadHalves<kOf>(d.last_state, state));
    }
  }
  SyncCellThreads();
  CountWritten(&shared.written, plan.tiles);
  unsigned number = 0;
  for (int done = 0; done < part.count; ++done) {
    const int t = static_cast<int>(clock.At(part.first + done));
    for (int tile = 0; tile < plan.tiles; ++tile, ++number) {
      // What waits neither for the sums nor for the length.
      Halves<kOf> projected[kPasses][4];
      Floats<kOf> cell[kPasses];
      int length[kPasses];
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(tile, pass);
        length[pass] = -1;
        if (n >= batch) continue;
        length[pass] = static_cast<int>(LengthOf(lengths, n, frames));
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          projected[pass][gate] =
              LoadHalves<kOf>(d.projected, ((static_cast<int64_t>(t) * batch + n) * 4 + gate) * units + unit);
        }
        cell[pass] = LoadFloats<kOf>(d.last_cell, static_cast<int64_t>(n) * units + unit);
      }
      // The next ones on their way from memory into the L2 cache.
      const int next_tile = tile + 1 < plan.tiles ? tile + 1 : 0, next_step = part.first + done + (next_tile == 0);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(next_tile, pass);
        if (n >= batch || next_step >= part.first + part.count) continue;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
          Prefetch(d.projected, ((clock.At(next_step) * batch + n) * 4 + gate) * units + unit);
        }
      }
      WaitAt(&shared.sums_full, number % 2);
      Halves<kOf> output[kPasses], gates[kPasses][4];
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(tile, pass);
        if (n >= batch) continue;
        if (t < length[pass]) {
          Floats<kOf> sums[4];
#pragma unroll
          for (int gate = 0; gate < 4; ++gate) sums[gate] = LoadFloats<kOf>(shared.sums, own.Sum(pass, gate));
#pragma unroll
          for (int i = 0; i < kOf; ++i) {
            float inputs[4];
#pragma unroll
            for (int gate = 0; gate < 4; ++gate) inputs[gate] = projected[pass][gate].Get(i) + sums[gate].at[i];
            const LstmCell result = ForwardCell<Half>(inputs, cell[pass].at[i]);
            cell[pass].at[i] = result.cell;
            output[pass].Set(i, result.output);
#pragma unroll
            for (int gate = 0; gate < 4; ++gate) gates[pass][gate].Set(i, result.gates[gate]);
          }
          Store(space.Tile((done + 1) % 2, tile), own.places[pass], output[pass]);
        } else {  // the state stays, for a reverse direction that has not begun
          output[pass] = {};
          Store(space.Tile((done + 1) % 2, tile), own.places[pass],
                LoadHalves<kOf>(d.last_state, static_cast<int64_t>(n) * units + unit));
        }
      }
      CountWritten(&shared.written, 1);
      // After that: so that no warp goes on to the next tile before all have counted this one.
      ArriveOfWarp(&shared.sums_free);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const int n = own.Sequence(tile, pass);
        if (n >= batch) continue;
        const int64_t row = static_cast<int64_t>(t) * batch + n, state = static_cast<int64_t>(n) * units + unit;
        Store(d.output, row * shape.directions * units + unit, output[pass]);
        if (t >= length[pass]) continue;
        Store(d.last_cell, state, cell[pass]);
        if (clock.IsLast(t, length[pass]) || done + 1 == part.count) Store(d.last_state, state, output[pass]);
        if (d.cells != nullptr) Store(d.cells, row * units + unit, cell[pass]);
        if (d.gates == nullptr) continue;
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) Store(d.gates, (row * 4 + gate) * units + unit, gates[pass][gate]);
      }
    }
  }
}

// Block (x, y, z): units 32 x on, sequences plan.rows y on, part z.
template <int kTile>
__global__ void __launch_bounds__(kThreads, 1)
    Forward(LstmShape shape, const int64_t* __restrict__ lengths, LstmHopperPlan plan,
            const __grid_constant__ Parts parts, unsigned char* scratch) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kTile>*>(memory);
  const LstmPart<LstmCudaForward>& part = parts.at[blockIdx.z];
  const int units = static_cast<int>(shape.units), chunks = units / kChunk, thread = threadIdx.x;
  const Scratch space(plan, scratch, units);

  if (thread == 0) InitShared(shared, kMultipliers / 32, kCellThreads / 32);
  OwnWeights<kTile> own;
  LoadWeights<kTile>(
      shared, chunks,
      [&](int chunk, Half* to) {
        for (int i = thread; i < kRows * kChunk / 8; i += kThreads) {
          const int row = i / (kChunk / 8), column = i % (kChunk / 8) * 8, sum = SumOfRow(row);
          const int64_t gate_unit = sum / kUnits * units + blockIdx.x * kUnits + sum % kUnits;
          *reinterpret_cast<uint4*>(to + Swizzled(row, column)) = *reinterpret_cast<const uint4*>(
              static_cast<const Half*>(part.tensors.weight_hh) + gate_unit * units + chunk * kChunk + column);
        }
      },
      &own);
  FenceShared();
  __syncthreads();

  if (thread >= kFetcher) {
    GiveRegistersBack<kOtherRegisters>();
    FetchAndAnnounce(shared, plan, part.count, space, 0, chunks);
  } else if (thread >= kMultipliers) {
    TakeRegisters<kCellRegisters>();
    ComputeCells<kTile>(shape, lengths, plan, part, space, shared);
  } else {
    TakeRegisters<kMultiplierRegisters>();
    MultiplyTiles<kTile>(
        shared, own, chunks, part.count * plan.tiles,
        [&](int row, int column, float2 two) {
          *reinterpret_cast<float2*>(shared.sums + row * kSumsWidth + column) = two;
        },
        [&] { ArriveOfWarp(&shared.sums_full); });
  }
}

}  // namespace
}  // namespace hopper

LstmHopperPlan PlanLstmHopperForward(const LstmShape& shape, int64_t parts, int tile) {
  using namespace hopper;
  const int slices = static_cast<int>(shape.units / kUnits);
  return Plan(shape, parts, slices, 1, tile, [&](int) { return NumProcessors() / slices; });
}

void LstmHopperForward(const LstmShape& shape, const int64_t* lengths,
                       const std::vector<LstmPart<LstmCudaForward>>& parts, int tile, void* scratch,
                       int64_t scratch_bytes, CudaStream stream) {
  using namespace hopper;
  const LstmHopperPlan plan = PlanLstmHopperForward(shape, static_cast<int64_t>(parts.size()), tile);
  const auto kernel = plan.tile == 64 ? Forward<64> : plan.tile == 32 ? Forward<32> : Forward<16>;
  Launch(kernel, shape, lengths, plan, 1, parts, scratch, scratch_bytes, stream);
}

}  // namespace pyasr
