// How the persistent kernels for Hopper GPUs share the work out, and their launch, for .cu files.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/cuda_check.h"
#include "lstm/hopper_cuda.h"
#include "lstm/lstm_cuda.h"

namespace pyasr {
namespace hopper {

// As kernels get them.
template <typename Tensors>
struct LstmParts {
  LstmPart<Tensors> at[kLstmMostParts];
};

// What blocks exchange, in global memory: counters of those that have arrived, and for each part and group the tiles'
// pieces, of which there are two, written in turns.
struct Scratch {
  int64_t tile_size;
  unsigned* counters;
  Half* tiles;

  static int64_t CounterBytes(const LstmHopperPlan& plan) {
    return int64_t{kCounterBytes} * plan.parts * plan.groups * plan.tiles;
  }
  static int64_t Bytes(const LstmHopperPlan& plan, int64_t units) {
    const int64_t tile_bytes = plan.operands * plan.tile * units * static_cast<int64_t>(sizeof(Half));
    return CounterBytes(plan) + 2 * plan.parts * plan.groups * plan.tiles * tile_bytes;
  }

  // Of this block's part and group.
  __device__ Scratch(const LstmHopperPlan& plan, unsigned char* memory, int units)
      : tile_size(static_cast<int64_t>(plan.operands) * plan.tile * units) {
    const int64_t first_tile = (blockIdx.z * gridDim.y + blockIdx.y) * plan.tiles;
    const int64_t counter_bytes = static_cast<int64_t>(kCounterBytes) * gridDim.z * gridDim.y * plan.tiles;
    counters = reinterpret_cast<unsigned*>(memory + first_tile * kCounterBytes);
    tiles = reinterpret_cast<Half*>(memory + counter_bytes) + 2 * first_tile * tile_size;
  }
  __device__ unsigned* Counter(int tile) const { return counters + tile * (kCounterBytes / sizeof(unsigned)); }
  __device__ Half* Tile(int turn, int tile) const { return tiles + (2 * tile + turn) * tile_size; }
};

// By the threads from kFetcher on, of which two have work. `operand`: where what this block multiplies begins in a
// tile.
template <int kTile>
__device__ __forceinline__ void FetchAndAnnounce(Shared<kTile>& shared, const LstmHopperPlan& plan, int count,
                                                 const Scratch& space, int operand, int chunks) {
  if (threadIdx.x == kFetcher) {
    unsigned piece = 0;
    for (int done = 0; done < count; ++done) {
      for (int tile = 0; tile < plan.tiles; ++tile) {
        WaitForAll(space.Counter(tile), (done + 1) * gridDim.x);
        FetchTile(shared, space.Tile(done % 2, tile) + operand, chunks, &piece);
      }
    }
  } else if (threadIdx.x == kAnnouncer) {
    for (int i = 0; i < (count + 1) * plan.tiles; ++i) Announce(&shared.written, i, space.Counter(i % plan.tiles));
  }
}

inline int DeviceAttribute(cudaDeviceAttr attribute) {
  int device, value;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  CheckCuda(cudaDeviceGetAttribute(&value, attribute, device), "attribute of the device");
  return value;
}
inline int NumProcessors() { return DeviceAttribute(cudaDevAttrMultiProcessorCount); }
inline bool IsHopper() {
  return DeviceAttribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
         DeviceAttribute(cudaDevAttrComputeCapabilityMinor) == 0;
}

// The best of the ways to share out. `slices`: blocks of a part and group; `operands`: tensors of a tile's rows that
// they exchange; most_groups(tile): how many groups of `slices` blocks run at once.
template <typename F>
LstmHopperPlan Plan(const LstmShape& shape, int64_t parts, int slices, int operands, int only_tile,
                    const F& most_groups) {
  LstmHopperPlan best{};
  if (!IsHopper() || shape.units < kChunk || shape.units % kChunk != 0 || shape.units > kMostChunks * kChunk ||
      shape.frames == 0 || shape.batch == 0 || shape.frames > kLstmMostFrames || parts < 1 || parts > kLstmMostParts) {
    return best;
  }
  double least = 0;
  for (const int tile : {64, 32, 16}) {
    if (only_tile != 0 && tile != only_tile) continue;
    const int64_t most = most_groups(tile) / parts, tiles_of_batch = (shape.batch + tile - 1) / tile;
    if (most == 0) continue;
    const int64_t tiles = (tiles_of_batch + std::min(most, tiles_of_batch) - 1) / std::min(most, tiles_of_batch);
    const int64_t groups = (tiles_of_batch + tiles - 1) / tiles;
    // Nanoseconds of a frame of 768 units on an H200: of its tiles where one follows the other, and at the least what
    // one takes that has to wait for the other blocks.
    const double cost = std::max(static_cast<double>(tiles) * (1350 + 40 * tile), 3100 + 37.5 * tile);
    if (best.tile != 0 && cost >= least) continue;
    least = cost;
    best = {tile, static_cast<int>(tiles), static_cast<int>(groups), static_cast<int>(tiles) * tile, slices,
            static_cast<int>(parts), operands, 0};
    best.scratch_bytes = Scratch::Bytes(best, shape.units);
  }
  return best;
}

inline int64_t SharedBytes(int tile) {
  return tile == 64 ? sizeof(Shared<64>) : tile == 32 ? sizeof(Shared<32>) : sizeof(Shared<16>);
}

template <typename Kernel>
void AllowShared(Kernel* kernel, int tile) {
  const int bytes = static_cast<int>(SharedBytes(tile));
  CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
            "shared memory of the LSTM");
}

// Clusters of a kernel that run at once.
template <typename Kernel>
int MostClusters(Kernel* kernel, int tile, unsigned cluster) {
  AllowShared(kernel, tile);
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {cluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(cluster);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<size_t>(SharedBytes(tile));
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  CheckCuda(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config), "clusters of the LSTM that run at once");
  return clusters;
}

// All blocks at once, in clusters of `cluster`, or an error: they wait for each other.
template <typename Tensors>
void Launch(void (*kernel)(LstmShape, const int64_t*, LstmHopperPlan, const LstmParts<Tensors>, unsigned char*),
            const LstmShape& shape, const int64_t* lengths, const LstmHopperPlan& plan, unsigned cluster,
            const std::vector<LstmPart<Tensors>>& parts, void* scratch, int64_t scratch_bytes, CudaStream stream) {
  PYASR_CHECK(plan.tile > 0, "the persistent LSTM for Hopper cannot run ", parts.size(), " parts of ", shape.frames,
              " frames, ", shape.batch, " sequences and ", shape.units, " units here");
  PYASR_CHECK(scratch_bytes >= plan.scratch_bytes, "scratch has ", scratch_bytes, " bytes, not ", plan.scratch_bytes);
  LstmParts<Tensors> all{};
  std::copy(parts.begin(), parts.end(), all.at);
  AllowShared(kernel, plan.tile);
  CheckCuda(cudaMemsetAsync(scratch, 0, Scratch::CounterBytes(plan), stream), "clearing the counters of blocks");
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeCooperative;
  attributes[0].val.cooperative = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {cluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(plan.slices, plan.groups, plan.parts);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<size_t>(SharedBytes(plan.tile));
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  CheckCuda(cudaLaunchKernelEx(&config, kernel, shape, lengths, plan, all, static_cast<unsigned char*>(scratch)),
            "persistent LSTM for Hopper");
}

}  // namespace hopper
}  // namespace pyasr
