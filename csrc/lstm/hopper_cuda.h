// What the two persistent kernels for Hopper GPUs (sm_90a) share, for .cu files: lstm_cuda.h says what they do.
//
// A block holds 128 rows of weights and multiplies them, for each frame, by tiles of sequences on the tensor cores
// (wgmma): sums (128, kTile) = weights (128, H) x states (kTile, H)^T. Its warpgroups have roles, so that all goes on at
// once: two multiply, 64 rows each; one computes cells from the sums, which lie in shared memory, and writes states for
// the other blocks; one thread fetches such states, and one tells the other blocks when a tile is done, for which it has
// to wait until all that was written has arrived. States lie in global memory as shared memory is to have them: pieces
// of 64 columns, (kTile, 64), with the 128-byte swizzle, one bulk copy a piece.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "lstm/cells_cuda.h"
#include "lstm/lstm_cuda.h"

namespace pyasr {
namespace hopper {

constexpr int kUnits = 32;         // of a block: those whose cells it computes
constexpr int kRows = 128;         // of weights
constexpr int kChunk = 64;         // columns: 128 bytes, a swizzled row
constexpr int kMostChunks = 12;    // up to 768 units
constexpr int kSumsWidth = 132;    // floats: neither writing nor reading the sums meets in a bank
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

__device__ __forceinline__ unsigned AddressOf(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// --- barriers in shared memory ---

__device__ __forceinline__ void InitBarrier(uint64_t* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(AddressOf(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void ArriveAt(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(AddressOf(barrier)) : "memory");
}
__device__ __forceinline__ void ArriveExpecting(uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(AddressOf(barrier)), "r"(bytes)
               : "memory");
}
// By a whole warp, once.
__device__ __forceinline__ void ArriveOfWarp(uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) ArriveAt(barrier);
}
// Until the phase of this parity is over. A new barrier is as if one of parity 1 had been.
__device__ __forceinline__ void WaitAt(uint64_t* barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}" ::"r"(AddressOf(barrier)),
      "r"(parity)
      : "memory");
}
// By a whole warp, once at this barrier of every block of the cluster.
__device__ __forceinline__ void ArriveAtCluster(uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 >= kClusterBlocks) return;
  asm volatile(
      "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(AddressOf(barrier)),
      "r"(threadIdx.x % 32)
      : "memory");
}
// To the same place in the shared memory of a block of the cluster, whose barrier expects the bytes.
__device__ __forceinline__ void SendToBlock(float* p, uint64_t* barrier, unsigned rank, float2 two) {
  asm volatile(
      "{\n.reg .b32 there, expecting;\nmapa.shared::cluster.u32 there, %0, %2;\n"
      "mapa.shared::cluster.u32 expecting, %1, %2;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [there], {%3, %4}, [expecting];\n}" ::"r"(
          AddressOf(p)),
      "r"(AddressOf(barrier)), "r"(rank), "f"(two.x), "f"(two.y)
      : "memory");
}
__device__ __forceinline__ void SyncCellThreads() { asm volatile("bar.sync 1, %0;" ::"n"(kCellThreads) : "memory"); }
__device__ __forceinline__ void SyncCluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

template <int kRegisters>
__device__ __forceinline__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void GiveRegistersBack() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Between ordinary accesses and those of bulk copies and tensor cores.
__device__ __forceinline__ void FenceShared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void FenceGlobal() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// --- the product on tensor cores ---

// A K-major operand with the 128-byte swizzle: groups of eight rows 1024 bytes apart.
__device__ __forceinline__ uint64_t DescriptorOf(const void* p) {
  return static_cast<uint64_t>((AddressOf(p) & 0x3ffff) >> 4) | uint64_t{1} << 16 | uint64_t{64} << 32 |
         uint64_t{1} << 62;
}
constexpr uint64_t kNextColumns = 2;  // 16 columns on, in a descriptor

__device__ __forceinline__ void WgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void WgmmaCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// d += a b, or d = a b where `add` is 0, for a (64, 16) in shared memory or in registers, and b (kTile, 16)^T in shared
// memory: of each warp's 16 rows a thread has d[4 j + 2 i + e], row lane / 4 + 8 i, column 8 j + lane % 4 * 2 + e.
#define PYASR_D8(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define PYASR_N8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define PYASR_N16 PYASR_N8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define PYASR_N32 PYASR_N16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define PYASR_WGMMA(n, registers, shared_a, shared_b, shared_add, own_a, own_b, own_add, ...)                         \
  __device__ __forceinline__ void Wgmma(float(&d)[n / 2], uint64_t a, uint64_t b, int add) {                          \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " shared_add ", 0;\n"                                              \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, " shared_a ", " shared_b  \
                 ", p, 1, 1, 0, 0;\n}"                                                                                \
                 : __VA_ARGS__                                                                                        \
                 : "l"(a), "l"(b), "r"(add));                                                                         \
  }                                                                                                                   \
  __device__ __forceinline__ void Wgmma(float(&d)[n / 2], const unsigned(&a)[4], uint64_t b, int add) {               \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " own_add ", 0;\n"                                                 \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, {" own_a "}, " own_b      \
                 ", p, 1, 1, 0;\n}"                                                                                   \
                 : __VA_ARGS__                                                                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));                                     \
  }
PYASR_WGMMA(16, PYASR_N8, "%8", "%9", "%10", "%8,%9,%10,%11", "%12", "%13", PYASR_D8(d, 0))
PYASR_WGMMA(32, PYASR_N16, "%16", "%17", "%18", "%16,%17,%18,%19", "%20", "%21", PYASR_D8(d, 0), PYASR_D8(d, 8))
PYASR_WGMMA(64, PYASR_N32, "%32", "%33", "%34", "%32,%33,%34,%35", "%36", "%37", PYASR_D8(d, 0), PYASR_D8(d, 8),
            PYASR_D8(d, 16), PYASR_D8(d, 24))
#undef PYASR_WGMMA
#undef PYASR_N32
#undef PYASR_N16
#undef PYASR_N8
#undef PYASR_D8

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

// --- between blocks ---

// By one thread of the ring's warp: the pieces of one tile, `bytes` in all from `pieces` on.
template <int kTile>
__device__ __forceinline__ void FetchTile(Shared<kTile>& shared, const Half* pieces, int chunks, unsigned* piece) {
  constexpr unsigned kBytes = kTile * kChunk * sizeof(Half);
  for (int c = 0; c < chunks; ++c, ++*piece) {
    const unsigned slot = *piece % kSlots<kTile>;
    WaitAt(&shared.empty[slot], *piece / kSlots<kTile> % 2 ^ 1);
    ArriveExpecting(&shared.full[slot], kBytes);
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     AddressOf(shared.ring[slot])),
                 "l"(pieces + c * kTile * kChunk), "r"(kBytes), "r"(AddressOf(&shared.full[slot]))
                 : "memory");
  }
}

// By a whole warp, when it has written its part of so many tiles for the other blocks. No warp may be a tile ahead of one
// that has not counted.
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

  __device__ CellsOf() {
    const int thread = static_cast<int>(threadIdx.x) - kMultipliers;
    row = thread / kPerRow, column = thread % kPerRow * kOf;
  }
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
