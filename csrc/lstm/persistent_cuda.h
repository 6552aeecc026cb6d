// What the two persistent kernels share, for .cu files: the sharing out of the work, the product on tensor cores, and
// the barrier between frames.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>

#include "base/cuda_check.h"
#include "lstm/lstm_cuda.h"

namespace pyasr {

constexpr int kLstmWarps = 8, kLstmThreads = 32 * kLstmWarps;
constexpr int kLstmChunk = 32;          // columns that a warp multiplies at a time
constexpr int kLstmCounterBytes = 128;  // a counter has a cache line of its own
constexpr int kLstmMostCounters = static_cast<int>(kLstmScratchBytes) / kLstmCounterBytes;

// Columns of the weights in shared memory, K padded: a row is so long that 8 lanes which read 16 bytes each, 4 of one
// row and 4 of the next, meet in no bank.
__host__ __device__ constexpr int LstmWidth(int64_t k) {
  const int chunks = static_cast<int>((k + kLstmChunk - 1) / kLstmChunk);
  return (chunks + (chunks % 2 == 0)) * kLstmChunk;
}

// Floats of a row of partial sums of `columns` columns: rows of a fragment meet in no bank.
__host__ __device__ constexpr int LstmSumsWidth(int columns) { return columns + 8; }

__host__ __device__ constexpr int64_t LstmWeightBytes(int columns, int64_t k) {
  return static_cast<int64_t>(columns) * LstmWidth(k) * 2;
}
__host__ __device__ constexpr int64_t LstmSumsBytes(int columns, int tiles) {
  return static_cast<int64_t>(kLstmWarps) * 16 * tiles * LstmSumsWidth(columns) * 4;
}

// D += A B for A (16, 16) and B (16, 8). Which 16 columns of A these are does not matter as long as B has the same: a
// lane takes 8 neighbours of each of its rows, for two such products.
__device__ __forceinline__ void MultiplyFragments(float* d, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                                  unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// 16 bytes that another multiprocessor may have written: from the L2 cache.
__device__ __forceinline__ uint4 LoadShared16(const __nv_bfloat16* p) {
  return __ldcg(reinterpret_cast<const uint4*>(p));
}

// Partial sums of `kColumns` columns over the block's part of the batch: rows (16 kTiles) of bfloat16, of which
// `rows[2 tile + half]` are those that this lane reads (null: zeros), times weights (kColumns, LstmWidth(k)). Each warp
// takes every eighth chunk of columns, and leaves its sums in sums (kLstmWarps, 16 kTiles, LstmSumsWidth).
template <int kTiles, int kColumns>
__device__ __forceinline__ void MultiplyRows(const __nv_bfloat16* const* rows, int64_t k,
                                             const __nv_bfloat16* __restrict__ weights, float* sums) {
  constexpr int kBlocks = kColumns / 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
  const int width = LstmWidth(k), chunks = static_cast<int>((k + kLstmChunk - 1) / kLstmChunk);
  float d[kTiles][kBlocks][4] = {};
#pragma unroll 3
  for (int chunk = warp; chunk < chunks; chunk += kLstmWarps) {
    const int column = chunk * kLstmChunk + 8 * quad;
    uint4 a[2 * kTiles];
#pragma unroll
    for (int r = 0; r < 2 * kTiles; ++r) {
      a[r] = rows[r] != nullptr && column < k ? LoadShared16(rows[r] + column) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      const uint4 b = *reinterpret_cast<const uint4*>(weights + (block * 8 + group) * width + column);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 &up = a[2 * tile], &low = a[2 * tile + 1];
        MultiplyFragments(d[tile][block], up.x, low.x, up.y, low.y, b.x, b.y);
        MultiplyFragments(d[tile][block], up.z, low.z, up.w, low.w, b.z, b.w);
      }
    }
  }
  constexpr int kWidth = LstmSumsWidth(kColumns);
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      float* to = sums + ((warp * kTiles + tile) * 16 + group) * kWidth + block * 8 + 2 * quad;
      *reinterpret_cast<float2*>(to) = make_float2(d[tile][block][0], d[tile][block][1]);
      *reinterpret_cast<float2*>(to + 8 * kWidth) = make_float2(d[tile][block][2], d[tile][block][3]);
    }
  }
}

// The sum of the warps' partial sums.
template <int kTiles, int kColumns>
__device__ __forceinline__ float SumOfWarps(const float* sums, int row, int column) {
  constexpr int kWidth = LstmSumsWidth(kColumns);
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kLstmWarps; ++warp) sum += sums[(warp * kTiles * 16 + row) * kWidth + column];
  return sum;
}

// By all threads: what this block has written is seen by the blocks that WaitFor finds counted.
__device__ __forceinline__ void Arrive(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
  }
}

// By all threads, until `target` blocks have arrived.
__device__ __forceinline__ void WaitFor(const unsigned* counter, unsigned target) {
  if (threadIdx.x == 0) {
    unsigned count;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter) : "memory");
    } while (count < target);
    __threadfence();
  }
  __syncthreads();
}

// The best of the ways to share out that fit: of units (32 or 16) and tiles (2 or 1) that a block has. `k_of_unit`:
// columns of the product over H (1 forward, 4 backward); `columns_of_unit`: rows of weights that a unit has.
inline LstmPlan PlanLstm(const LstmShape& shape, int k_of_unit, int columns_of_unit) {
  LstmPlan best{};
  if (shape.units % 8 != 0 || shape.frames == 0 || shape.batch == 0 || shape.frames > kLstmMostFrames) return best;
  int device, processors, most_shared;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  CheckCuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "number of multiprocessors");
  CheckCuda(cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "shared memory");
  const int64_t k = k_of_unit * shape.units, tiles_of_batch = (shape.batch + 15) / 16;
  double least = 0;
  for (const int units : {32, 16}) {
    for (const int tiles : {2, 1}) {
      const int columns = columns_of_unit * units;
      const int64_t shared = LstmWeightBytes(columns, k) + LstmSumsBytes(columns, tiles);
      const int64_t slices = (shape.units + units - 1) / units, blocks = slices * shape.directions;
      if (shared > most_shared || blocks > processors) continue;
      const int64_t most = std::min<int64_t>(processors / blocks, kLstmMostCounters / shape.directions);
      const int64_t tiles_of_group =
          (tiles_of_batch + std::min(most, tiles_of_batch) - 1) / std::min(most, tiles_of_batch);
      const int64_t groups = (tiles_of_batch + tiles_of_group - 1) / tiles_of_group;
      const int64_t rounds = (tiles_of_group + tiles - 1) / tiles, rows = tiles_of_group * 16;
      // Cycles of a frame: tensor cores, shared memory (weights; sums written and read), the L2 cache. Rates of an
      // H100.
      const double cost =
          static_cast<double>(rows) * columns * static_cast<double>(k) / 1280 +
          static_cast<double>(rounds * (LstmWeightBytes(columns, k) + 2 * LstmSumsBytes(columns, tiles))) / 128 +
          static_cast<double>(blocks * groups * rows * k * 2) / 2800 + 500.0 * static_cast<double>(rounds);
      if (best.units != 0 && cost >= least) continue;
      least = cost;
      best = {units, static_cast<int>(slices), static_cast<int>(groups), static_cast<int>(rows), tiles, shared};
    }
  }
  return best;
}

// All blocks at once, or an error: they wait for each other.
template <typename... Parameters>
void LaunchTogether(void (*kernel)(Parameters...), const LstmPlan& plan, int64_t directions, CudaStream stream,
                    Parameters... parameters) {
  CheckCuda(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(plan.shared_bytes)),
      "shared memory of the LSTM");
  void* arguments[] = {&parameters...};
  const dim3 grid(plan.slices, plan.groups, static_cast<unsigned>(directions));
  CheckCuda(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), grid, dim3(kLstmThreads), arguments,
                                        static_cast<size_t>(plan.shared_bytes), stream),
            "persistent LSTM");
}

}  // namespace pyasr
