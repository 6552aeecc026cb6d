#include <algorithm>
#include <cfloat>

#include "base/cuda_check.h"
#include "gtc/gtc_cuda.h"
#include "gtc/words.h"

namespace pyasr {
namespace {

constexpr unsigned kAll = 0xffffffffu;

// Encode: a block a tile. A thread has four quads, a quad being four elements; the quads of a warp's lanes are
// neighbours, and quad q of lane l begins at element 128 q + 4 l of its warp's.
constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kQuads = 4;
constexpr int kWarpElements = 32 * 4 * kQuads;
constexpr int kTile = kWarps * kWarpElements;

// The map of words has two bits an element, the lower one for -tau, the upper one for +tau. So a word is the place of
// its bit in the map, and words are written by writing down where the ones are.
constexpr int kTileMap = kTile / 16;  // in numbers of 32 bits

// What Place has to know of a tile: its number of words, and above that kTile less the place of its first bad element.
constexpr int kBadShift = 16;
constexpr unsigned kCountMask = (1u << kBadShift) - 1;
static_assert(kTile <= kCountMask);

// Place: a block a number of steps; a step is 128 bits of the map a thread.
constexpr int kPlaceWarps = 16, kPlaceThreads = 32 * kPlaceWarps;
constexpr int kStep = kPlaceThreads * 64;  // elements
constexpr int kMostPlaceBlocks = 256;      // as each reads what is known of all tiles; two for most multiprocessors
constexpr unsigned kBadFrom = 1u << 31;    // less the index: the maximum over bad elements is the first one; 0: none

int64_t NumTiles(int64_t n) { return (n + kTile - 1) / kTile; }

__device__ float4 LoadPart(const float* from, int64_t index, int64_t n) {
  float part[4];
#pragma unroll
  for (int c = 0; c < 4; ++c) part[c] = index + c < n ? from[index + c] : 0.0f;
  return make_float4(part[0], part[1], part[2], part[3]);
}

__device__ void StorePart(float* to, int64_t index, int64_t n, float4 quad) {
  const float part[4] = {quad.x, quad.y, quad.z, quad.w};
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (index + c < n) to[index + c] = part[c];
  }
}

// The new residual of an element, its bits in those of its thread, and a bit in `bad` where the sum is not finite.
__device__ float Keep(float old, float grad, float tau, int number, unsigned* bits, unsigned* bad) {
  const float sum = old + grad;
  const bool finite = fabsf(sum) <= FLT_MAX;
  const bool up = finite && sum > tau, down = finite && sum < -tau;
  *bits |= static_cast<unsigned>(up) << (2 * number + 1) | static_cast<unsigned>(down) << (2 * number);
  *bad |= static_cast<unsigned>(!finite) << number;
  return up ? sum - tau : down ? sum + tau : finite ? sum : old;
}

// A thread's bits of four quads, a byte each, into those of 16 neighbours: four lanes transpose four by four bytes.
// Lane l then has what begins at element 128 (l % 4) + 16 (l / 4).
__device__ unsigned Neighbours(unsigned bits, int lane) {
  bits = __byte_perm(bits, __shfl_xor_sync(kAll, bits, 2), lane & 2 ? 0x3276 : 0x5410);
  return __byte_perm(bits, __shfl_xor_sync(kAll, bits, 1), lane & 1 ? 0x3715 : 0x6240);
}

template <bool kAligned>
__global__ void __launch_bounds__(kThreads) Encode(const float* __restrict__ grad, float* __restrict__ residual,
                                                   int64_t n, float tau, unsigned* __restrict__ map,
                                                   unsigned* __restrict__ tiles) {
  __shared__ unsigned warp_counts[kWarps], warp_bad[kWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t tile = blockIdx.x;
  const int in_tile = warp * kWarpElements + lane * 4;
  const int64_t first = tile * kTile + in_tile;
  const bool whole = kAligned && (tile + 1) * kTile <= n;

  float4 added[kQuads], kept[kQuads];
  if (whole) {  // nothing is used before all is asked for. Past the L2 cache (ldcs, stcs) was 5 % slower on an H200
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      added[q] = *reinterpret_cast<const float4*>(grad + first + q * 128);
      kept[q] = *reinterpret_cast<const float4*>(residual + first + q * 128);
    }
  } else {
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      added[q] = LoadPart(grad, first + q * 128, n);
      kept[q] = LoadPart(residual, first + q * 128, n);
    }
  }
  unsigned bits = 0, bad = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    kept[q].x = Keep(kept[q].x, added[q].x, tau, 4 * q, &bits, &bad);
    kept[q].y = Keep(kept[q].y, added[q].y, tau, 4 * q + 1, &bits, &bad);
    kept[q].z = Keep(kept[q].z, added[q].z, tau, 4 * q + 2, &bits, &bad);
    kept[q].w = Keep(kept[q].w, added[q].w, tau, 4 * q + 3, &bits, &bad);
  }
  if (whole) {
#pragma unroll
    for (int q = 0; q < kQuads; ++q) *reinterpret_cast<float4*>(residual + first + q * 128) = kept[q];
  } else {
#pragma unroll
    for (int q = 0; q < kQuads; ++q) StorePart(residual, first + q * 128, n, kept[q]);
  }
  map[tile * kTileMap + warp * 32 + 8 * (lane % 4) + lane / 4] = Neighbours(bits, lane);

  const unsigned count = __reduce_add_sync(kAll, static_cast<unsigned>(__popc(bits)));
  const int first_bad = __ffs(static_cast<int>(bad)) - 1;
  const unsigned until_bad = bad == 0 ? 0 : kTile - (in_tile + first_bad / 4 * 128 + first_bad % 4);
  const unsigned most_bad = __reduce_max_sync(kAll, until_bad);
  if (lane == 0) warp_counts[warp] = count, warp_bad[warp] = most_bad;
  __syncthreads();
  if (threadIdx.x != 0) return;
  unsigned tile_count = 0, tile_bad = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) tile_count += warp_counts[w], tile_bad = max(tile_bad, warp_bad[w]);
  tiles[tile] = tile_bad << kBadShift | tile_count;
}

struct Totals {
  unsigned before;  // words before this block's
  unsigned all;     // words
  unsigned bad;     // see kBadFrom
};

// By a whole block, from what is known of all tiles.
__device__ Totals SumUp(const unsigned* __restrict__ tiles, int num_tiles, int first_tile) {
  constexpr int kAtOnce = 8;  // loads under way
  __shared__ Totals of_warps[kPlaceWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Totals sum{0, 0, 0};
  for (int begin = threadIdx.x; begin < num_tiles; begin += kAtOnce * kPlaceThreads) {
    unsigned known[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int tile = begin + k * kPlaceThreads;
      known[k] = tile < num_tiles ? tiles[tile] : 0;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int tile = begin + k * kPlaceThreads;
      const unsigned count = known[k] & kCountMask, until_bad = known[k] >> kBadShift;
      sum.all += count;
      if (tile < first_tile) sum.before += count;
      if (until_bad != 0) sum.bad = max(sum.bad, kBadFrom - (static_cast<unsigned>(tile + 1) * kTile - until_bad));
    }
  }
  sum = {__reduce_add_sync(kAll, sum.before), __reduce_add_sync(kAll, sum.all), __reduce_max_sync(kAll, sum.bad)};
  if (lane == 0) of_warps[warp] = sum;
  __syncthreads();
  sum = lane < kPlaceWarps ? of_warps[lane] : Totals{0, 0, 0};
  return {__reduce_add_sync(kAll, sum.before), __reduce_add_sync(kAll, sum.all), __reduce_max_sync(kAll, sum.bad)};
}

// From the map: the words and their count; or, where nothing is to be sent after all, the words back into the residual.
__global__ void __launch_bounds__(kPlaceThreads)
    Place(const uint4* __restrict__ map, const unsigned* __restrict__ tiles, int num_tiles, int steps_a_block,
          float tau, int64_t capacity, float* __restrict__ residual, int32_t* __restrict__ words,
          int64_t* __restrict__ count) {
  __shared__ unsigned warp_counts[2][kPlaceWarps];  // of even and odd steps: so a barrier a step is enough
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int map_size = num_tiles * (kTileMap / 4), begin = blockIdx.x * steps_a_block, end = begin + steps_a_block;
  const auto load = [&](int step) {
    const int i = step * kPlaceThreads + static_cast<int>(threadIdx.x);
    return step < end && i < map_size ? map[i] : uint4{0, 0, 0, 0};
  };
  uint4 next = load(begin);  // before SumUp, and each later one before the words of the one before it
  const Totals sum = SumUp(tiles, num_tiles, begin * (kStep / kTile));
  const bool send = sum.bad == 0 && sum.all <= capacity;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    *count = send ? sum.all : sum.bad != 0 ? kGtcNotFinite - (kBadFrom - sum.bad) : kGtcNoRoom - sum.all;
  }
  unsigned before = sum.before;
  for (int step = begin; step < end; ++step) {
    const unsigned bits[4] = {next.x, next.y, next.z, next.w};
    next = load(step + 1);
    const unsigned own = __popc(bits[0]) + __popc(bits[1]) + __popc(bits[2]) + __popc(bits[3]);
    unsigned up_to_here = own;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const unsigned other = __shfl_up_sync(kAll, up_to_here, distance);
      if (lane >= distance) up_to_here += other;
    }
    if (lane == 31) warp_counts[step % 2][warp] = up_to_here;
    __syncthreads();
    unsigned at = before + up_to_here - own;
#pragma unroll
    for (int w = 0; w < kPlaceWarps; ++w) {
      const unsigned of_warp = warp_counts[step % 2][w];
      if (w < warp) at += of_warp;
      before += of_warp;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int first_word = ((step * kPlaceThreads + static_cast<int>(threadIdx.x)) * 4 + i) * 32;
      for (unsigned left = bits[i]; left != 0; left &= left - 1) {
        const int32_t word = first_word + __ffs(static_cast<int>(left)) - 1;
        if (send) {
          words[at++] = word;
        } else {
          residual[GtcIndex(word)] += word & 1 ? tau : -tau;
        }
      }
    }
  }
}

}  // namespace

int64_t GtcEncodeScratchBytes(int64_t n) {
  return NumTiles(n) * (kTileMap + 1) * static_cast<int64_t>(sizeof(unsigned));
}

void GtcEncodeCuda(const float* grad, float* residual, int64_t n, float tau, int32_t* words, int64_t capacity,
                   int64_t* count, void* scratch, CudaStream stream) {
  CheckGtcSize(n);
  const int64_t num_tiles = NumTiles(n);
  auto* const map = static_cast<unsigned*>(scratch);
  unsigned* const tiles = map + num_tiles * kTileMap;
  if (num_tiles > 0) {
    const bool aligned = reinterpret_cast<uintptr_t>(grad) % 16 == 0 && reinterpret_cast<uintptr_t>(residual) % 16 == 0;
    const auto encode = aligned ? Encode<true> : Encode<false>;
    encode<<<static_cast<unsigned>(num_tiles), kThreads, 0, stream>>>(grad, residual, n, tau, map, tiles);
    CheckLaunch("GTC encode");
  }
  const auto steps = static_cast<int>(std::max<int64_t>(1, (n + kStep - 1) / kStep));  // one to say that none are sent
  const int steps_a_block = (steps + kMostPlaceBlocks - 1) / kMostPlaceBlocks;
  const int blocks = (steps + steps_a_block - 1) / steps_a_block;
  Place<<<blocks, kPlaceThreads, 0, stream>>>(reinterpret_cast<const uint4*>(map), tiles, static_cast<int>(num_tiles),
                                              steps_a_block, tau, capacity, residual, words, count);
  CheckLaunch("GTC place");
}

}  // namespace pyasr
