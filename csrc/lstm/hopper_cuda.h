// What the two persistent kernels for Hopper GPUs (sm_90a) share, for .cu files: lstm_cuda.h says what they do.
//
// A block holds 128 rows of weights and multiplies them, for each frame, by tiles of sequences on the tensor cores
// (wgmma): sums (128, kTile) = weights (128, H) x states (kTile, H)^T. Its warpgroups have roles, so that all goes on
// at once: two multiply, 64 rows each; one computes cells from the sums, which lie in shared memory, and writes states
// for the other blocks; one thread fetches such states, and one tells the other blocks when a tile is done, for which
// it has to wait until all that was written has arrived. States lie in global memory as shared memory is to have them:
// pieces of 64 columns, (kTile, 64), with the 128-byte swizzle, one bulk copy a piece.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "lstm/cells_cuda.h"
#include "lstm/lstm_cuda.h"
#include "lstm/wgmma_cuda.h"

namespace pyasr {
namespace hopper {

constexpr int kUnits = 32;          // of a block: those whose cells it computes
constexpr int kRows = 128;          // of weights
constexpr int kChunk = 64;          // columns: 128 bytes, a swizzled row
constexpr int kMostChunks = 12;     // up to 768 units
constexpr int kSumsWidth = 132;     // floats: neither writing nor reading the sums meets in a bank
constexpr int kCounterBytes = 128;  // a counter has a cache line of its own
constexpr int kClusterBlocks = 4;   // backward, one a gate

// Roles by thread.
constexpr int kMultipliers = 256;  // from 0 on
constexpr int kCellThreads = 128;  // from kMultipliers on
constexpr int kFetcher = kMultipliers + kCellThreads, kAnnouncer = kFetcher + 32;
constexpr int kThreads = 512;
// Registers a thread; 128 at the start.
constexpr int kMultiplierRegisters = 136, kCellRegisters = 200, kOtherRegisters = 40;
static_assert(2 * kMultiplierRegisters + kCellRegisters + kOtherRegisters <= 512);

// Tiles of 64, 32 and 16 sequences. Shared memory cannot hold all weights of 768 units beside a ring of pieces that is
// long enough for the L2 cache's latency: some chunks of each warpgroup's weights stay in its registers.
template <int kTile>
constexpr int kOwnChunks = kTile == 64 ? 4 : 2;
template <int kTile>
constexpr int kSlots = kTile == 64 ? 8 : 12;

using Half = __nv_bfloat16;

template <int kTile>
struct alignas(1024) Shared {
  Half weights[kMostChunks - kOwnChunks<kTile>][kRows * kChunk];
  Half ring[kSlots<kTile>][kTile * kChunk];
  float sums[kTile * kSumsWidth];
  uint64_t full[kSlots<kTile>], empty[kSlots<kTile>];
  uint64_t sums_full, sums_free;
  unsigned written;  // warps that have written a tile for the other blocks, over all tiles
};
static_assert(sizeof(Shared<64>) <= 232448 && sizeof(Shared<32>) <= 232448 && sizeof(Shared<16>) <= 232448);

// Where element (row, column) of a piece or chunk lies, in elements.
__device__ __forceinline__ int Swizzled(int row, int column) {
  return row * kChunk + ((column / 8 ^ row % 8) * 8 + column % 8);
}

// Which of the 128 sums a row of the weights in shared memory gives. A thread's accumulators are of rows r and r + 8:
// neighbours among the sums, so that it stores two at once.
__device__ __forceinline__ int SumOfRow(int row) { return row / 16 * 16 + row % 8 * 2 + row / 8 % 2; }
__device__ __forceinline__ int RowOfSum(int sum) { return sum / 16 * 16 + sum % 2 * 8 + sum / 2 % 8; }

__device__ __forceinline__ void SyncCellThreads() { asm volatile("bar.sync 1, %0;" ::"n"(kCellThreads) : "memory"); }

// By one thread. sums_full: arrivals when a tile's sums are there; sums_free: when they have been read.
template <int kTile>
__device__ __forceinline__ void InitShared(Shared<kTile>& shared, unsigned sums_full, unsigned sums_free) {
  for (int i = 0; i < kSlots<kTile>; ++i) {
    InitBarrier(&shared.full[i], 1);
    InitBarrier(&shared.empty[i], kMultipliers / 32);
  }
  InitBarrier(&shared.sums_full, sums_full);
  InitBarrier(&shared.sums_free, sums_free);
  shared.written = 0;
  FenceShared();
}

// A warpgroup's 64 rows of the first chunks of the weights, as wgmma takes them from registers.
template <int kTile>
struct OwnWeights {
  unsigned chunk[kOwnChunks<kTile>][kChunk / 16][4];
};

// By all threads of the block: the weights of `chunks` chunks, of which fill(chunk, to) writes one.
template <int kTile, typename F>
__device__ __forceinline__ void LoadWeights(Shared<kTile>& shared, int chunks, const F& fill, OwnWeights<kTile>* own) {
  static_assert(sizeof shared.ring >= kRows * kChunk * sizeof(Half));
  const int thread = threadIdx.x, lane = thread % 32, row = thread / 128 * 64 + thread / 32 % 4 * 16 + lane / 4;
  Half* const staged = shared.ring[0];
#pragma unroll
  for (int c = 0; c < kOwnChunks<kTile>; ++c) {
    if (c >= chunks) break;  // the same for all
    fill(c, staged);
    __syncthreads();
    if (thread < kMultipliers) {
#pragma unroll
      for (int k = 0; k < kChunk / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = Swizzled(row + i % 2 * 8, k * 16 + i / 2 * 8 + lane % 4 * 2);
          own->chunk[c][k][i] = *reinterpret_cast<const unsigned*>(staged + at);
        }
      }
    }
    __syncthreads();
  }
  for (int c = kOwnChunks<kTile>; c < chunks; ++c) fill(c, shared.weights[c - kOwnChunks<kTile>]);
}

// By the multipliers: the sums of one tile, from the next pieces of the ring; `piece` counts them.
template <int kTile>
__device__ __forceinline__ void MultiplyTile(Shared<kTile>& shared, const OwnWeights<kTile>& own, int chunks,
                                             unsigned* piece, float (&d)[kTile / 2]) {
  const int warpgroup = threadIdx.x / 128, lane = threadIdx.x % 32;
  const auto release = [&](unsigned done) {
    if (lane == 0) ArriveAt(&shared.empty[done % kSlots<kTile>]);
  };
  const auto multiply = [&](int chunk, const auto& a_of) {
    const unsigned slot = *piece % kSlots<kTile>;
    WaitAt(&shared.full[slot], *piece / kSlots<kTile> % 2);
    const uint64_t b = DescriptorOf(shared.ring[slot]);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kChunk / 16; ++k) Wgmma(d, a_of(k), b + k * kNextColumns, chunk + k > 0);
    WgmmaCommit();
    if (chunk > 0) {
      WgmmaWait<1>();
      release(*piece - 1);
    }
    ++*piece;
  };
#pragma unroll
  for (int c = 0; c < kOwnChunks<kTile>; ++c) {
    if (c < chunks) multiply(c, [&](int k) -> const unsigned(&)[4] { return own.chunk[c][k]; });
  }
  for (int c = kOwnChunks<kTile>; c < chunks; ++c) {
    const uint64_t a = DescriptorOf(shared.weights[c - kOwnChunks<kTile>] + warpgroup * 64 * kChunk);
    multiply(c, [&](int k) { return a + k * kNextColumns; });
  }
  WgmmaWait<0>();
  release(*piece - 1);
#pragma unroll
  for (float& x : d) asm volatile("" : "+f"(x)::"memory");  // not to be read before it is there
}

// visit(row of the tile, column, sum and the sum of the next column), for the sums of this thread.
template <int kTile, typename F>
__device__ __forceinline__ void ForSums(const float (&d)[kTile / 2], const F& visit) {
  const int lane = threadIdx.x % 32, column = threadIdx.x / 32 * 16 + lane / 4 * 2;
#pragma unroll
  for (int j = 0; j < kTile / 8; ++j) {
#pragma unroll
    for (int e = 0; e < 2; ++e) visit(8 * j + lane % 4 * 2 + e, column, make_float2(d[4 * j + e], d[4 * j + 2 + e]));
  }
}

// By the multipliers: the sums of `tiles` tiles, one after the other, when those before have been read.
// give(row of the tile, column, sum and the sum of the next column), for this thread's; then given().
template <int kTile, typename Give, typename Given>
__device__ __forceinline__ void MultiplyTiles(Shared<kTile>& shared, const OwnWeights<kTile>& own, int chunks,
                                              int tiles, const Give& give, const Given& given) {
  unsigned piece = 0;
  for (int number = 0; number < tiles; ++number) {
    float sums[kTile / 2];
    MultiplyTile<kTile>(shared, own, chunks, &piece, sums);
    WaitAt(&shared.sums_free, number % 2 ^ 1);
    ForSums<kTile>(sums, give);
    given();
  }
}

// --- between blocks ---

// By one thread of the ring's warp: the pieces of one tile, `bytes` in all from `pieces` on.
template <int kTile>
__device__ __forceinline__ void FetchTile(Shared<kTile>& shared, const Half* pieces, int chunks, unsigned* piece) {
  constexpr unsigned kBytes = kTile * kChunk * sizeof(Half);
  for (int c = 0; c < chunks; ++c, ++*piece) {
    const unsigned slot = *piece % kSlots<kTile>;
    WaitAt(&shared.empty[slot], *piece / kSlots<kTile> % 2 ^ 1);
    ArriveExpecting(&shared.full[slot], kBytes);
    CopyBulk(shared.ring[slot], pieces + c * kTile * kChunk, kBytes, &shared.full[slot]);
  }
}

// By a whole warp, when it has written its part of so many tiles for the other blocks. No warp may be a tile ahead of
// one that has not counted.
__device__ __forceinline__ void CountWritten(unsigned* written, unsigned tiles) {
  __syncwarp();
  if (threadIdx.x % 32 != 0) return;
  asm volatile("red.release.cta.shared::cta.add.u32 [%0], %1;" ::"r"(AddressOf(written)), "r"(tiles) : "memory");
}

// By the announcer: when all cell threads have written tile number `tile` over all tiles, counts for all blocks.
__device__ __forceinline__ void Announce(const unsigned* written, unsigned tile, unsigned* counter) {
  unsigned count;
  do {
    asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];" : "=r"(count) : "r"(AddressOf(written)) : "memory");
  } while (count < (tile + 1) * (kCellThreads / 32));
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

// By the fetcher, until `target` blocks have counted.
__device__ __forceinline__ void WaitForAll(const unsigned* counter, unsigned target) {
  unsigned count;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter) : "memory");
  } while (count < target);
  FenceGlobal();
}

// --- cells ---

// Which cells of a tile a cell thread computes: of `kPasses` rows, kRowsAtOnce apart, kOf units next to each other.
template <int kTile>
struct CellsOf {
  static constexpr int kOf = kTile >= 32 ? 8 : 4;
  static constexpr int kPerRow = kUnits / kOf, kRowsAtOnce = kCellThreads / kPerRow, kPasses = kTile / kRowsAtOnce;
  int row, column;  // of the first pass, in the tile and among the block's units
  int unit;
  int sequence;         // of the first tile and pass
  int places[kPasses];  // of the units in a tile's pieces

  // By the cell threads, of a block (x, y, z) with units kUnits x on and sequences `rows` y on.
  __device__ explicit CellsOf(int rows) {
    const int thread = static_cast<int>(threadIdx.x) - kMultipliers;
    row = thread / kPerRow, column = thread % kPerRow * kOf;
    unit = static_cast<int>(blockIdx.x) * kUnits + column;
    sequence = static_cast<int>(blockIdx.y) * rows + row;
    for (int pass = 0; pass < kPasses; ++pass) {
      places[pass] = unit / kChunk * kTile * kChunk + Swizzled(row + pass * kRowsAtOnce, unit % kChunk);
    }
  }
  __device__ int Sequence(int tile, int pass) const { return sequence + tile * kTile + pass * kRowsAtOnce; }
  // Where the sums of a gate begin in shared memory.
  __device__ int Sum(int pass, int gate) const {
    return (row + pass * kRowsAtOnce) * kSumsWidth + gate * kUnits + column;
  }
};

// bfloat16, in pairs: one by one they would take a register each.
template <int kSize>
struct alignas(kSize * 2) Halves {
  unsigned pairs[kSize / 2];

  __device__ __forceinline__ float Get(int i) const {
    return __uint_as_float(i % 2 == 0 ? pairs[i / 2] << 16 : pairs[i / 2] & 0xffff0000u);
  }
  // First the even one of a pair.
  __device__ __forceinline__ void Set(int i, float x) {
    const unsigned bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
    pairs[i / 2] = i % 2 == 0 ? bits : pairs[i / 2] | bits << 16;
  }
};
template <int kSize>
struct alignas(16) Floats {
  float at[kSize];
};

template <int kSize>
__device__ __forceinline__ Halves<kSize> LoadHalves(const void* tensor, int64_t index) {
  return *reinterpret_cast<const Halves<kSize>*>(static_cast<const Half*>(tensor) + index);
}
template <int kSize>
__device__ __forceinline__ void Store(void* tensor, int64_t index, const Halves<kSize>& values) {
  *reinterpret_cast<Halves<kSize>*>(static_cast<Half*>(tensor) + index) = values;
}
template <int kSize>
__device__ __forceinline__ Floats<kSize> LoadFloats(const float* tensor, int64_t index) {
  return *reinterpret_cast<const Floats<kSize>*>(tensor + index);
}
template <int kSize>
__device__ __forceinline__ void Store(float* tensor, int64_t index, const Floats<kSize>& values) {
  *reinterpret_cast<Floats<kSize>*>(tensor + index) = values;
}

__device__ __forceinline__ void Prefetch(const void* tensor, int64_t index) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const Half*>(tensor) + index));
}
__device__ __forceinline__ void Prefetch(const float* tensor, int64_t index) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(tensor + index));
}

}  // namespace hopper
}  // namespace pyasr
