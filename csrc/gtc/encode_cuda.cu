#include <cfloat>

#include "base/cuda_check.h"
#include "gtc/gtc_cuda.h"
#include "gtc/words.h"

namespace pyasr {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kQuads = 4;                       // groups of four elements a thread
constexpr int kWarpElements = 32 * 4 * kQuads;  // neighbours; quad q of lane l begins at element q * 128 + 4 l
constexpr int kTile = kWarps * kWarpElements;
constexpr int kFinishBlocks = 64;

// The published count of a tile's words: of the tile alone, or of all tiles up to it. 0: not yet.
using TileCount = unsigned long long;
constexpr TileCount kOwn = 1ull << 62, kUpToHere = 2ull << 62, kCountMask = 0xffffffffull;
constexpr unsigned kBadFrom = 1u << 31;  // less the index: the maximum over bad elements is the first one; 0: none

struct EncodeState {
  unsigned next_tile;
  unsigned bad;
  long long total;
  TileCount tiles[1];  // as many as there are
};

int64_t NumTiles(int64_t n) { return (n + kTile - 1) / kTile; }

__device__ TileCount ReadCount(const TileCount* p) { return *reinterpret_cast<const volatile TileCount*>(p); }
__device__ void Publish(TileCount* p, TileCount count) { *reinterpret_cast<volatile TileCount*>(p) = count; }

__device__ bool IsFinite(float x) { return fabsf(x) <= FLT_MAX; }

// Bytes of a word, summed.
__device__ int SumOfBytes(unsigned x) { return static_cast<int>(__dp4a(x, 0x01010101u, 0u)); }

// By one whole warp: publishes the tile's count, and returns the sum of those before it.
__device__ unsigned CountBefore(TileCount* tiles, int64_t tile, unsigned own) {
  const int lane = threadIdx.x % 32;
  if (lane == 0) Publish(&tiles[tile], (tile == 0 ? kUpToHere : kOwn) | own);
  if (tile == 0) return 0;
  unsigned before = 0;
  for (int64_t nearest = tile - 1;; nearest -= 32) {
    const int64_t other = nearest - lane;
    TileCount count;
    do {
      count = other < 0 ? kUpToHere : ReadCount(&tiles[other]);
    } while (__any_sync(kAll, (count >> 62) == 0));
    const unsigned complete = __ballot_sync(kAll, (count >> 62) == 2);
    // Lane 0 has the nearest tile. Those up to the first complete one count.
    const int last = complete ? __ffs(complete) - 1 : 31;
    before += __reduce_add_sync(kAll, lane <= last ? static_cast<unsigned>(count & kCountMask) : 0u);
    if (complete) break;
  }
  if (lane == 0) Publish(&tiles[tile], kUpToHere | (before + own));
  return before;
}

template <bool kAligned>
__global__ void __launch_bounds__(kThreads)
    Encode(const float* __restrict__ grad, float* __restrict__ residual, int64_t n, float tau,
           int32_t* __restrict__ words, int64_t capacity, int64_t num_tiles, EncodeState* state) {
  __shared__ int64_t shared_tile;
  __shared__ unsigned shared_counts[kWarps], shared_before;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) shared_tile = atomicAdd(&state->next_tile, 1u);
  __syncthreads();
  const int64_t tile = shared_tile;
  const int64_t first = tile * kTile + warp * kWarpElements + lane * 4;

  float sums[4 * kQuads];
  unsigned sent = 0;    // a bit an element of this thread
  unsigned counts = 0;  // of a quad's words: a byte each
  unsigned bad = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int64_t index = first + q * 128;
    float* s = sums + 4 * q;
    float old[4];
    if (kAligned && index + 4 <= n) {
      const float4 g = __ldcs(reinterpret_cast<const float4*>(grad + index));
      const float4 r = *reinterpret_cast<const float4*>(residual + index);
      old[0] = r.x, old[1] = r.y, old[2] = r.z, old[3] = r.w;
      s[0] = r.x + g.x, s[1] = r.y + g.y, s[2] = r.z + g.z, s[3] = r.w + g.w;
    } else {
      for (int c = 0; c < 4; ++c) {
        old[c] = index + c < n ? residual[index + c] : 0.0f;
        s[c] = old[c] + (index + c < n ? grad[index + c] : 0.0f);
      }
    }
    float kept[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const bool finite = IsFinite(s[c]), beyond = fabsf(s[c]) > tau && finite;
      kept[c] = beyond ? s[c] - copysignf(tau, s[c]) : finite ? s[c] : old[c];
      sent |= static_cast<unsigned>(beyond) << (4 * q + c);
      if (!finite) bad = max(bad, kBadFrom - static_cast<unsigned>(index + c));
    }
    counts |= __popc(sent >> (4 * q) & 15) << (8 * q);
    if (kAligned && index + 4 <= n) {
      *reinterpret_cast<float4*>(residual + index) = make_float4(kept[0], kept[1], kept[2], kept[3]);
    } else {
      for (int c = 0; c < 4; ++c) {
        if (index + c < n) residual[index + c] = kept[c];
      }
    }
  }
  if (bad != 0) atomicMax(&state->bad, bad);

  // Words before this thread's in its warp, for each quad; at most 128 a quad, so a byte holds them.
  unsigned before = 0, warp_counts = 0;
  if (__any_sync(kAll, sent != 0)) {
    unsigned up_to_here = counts;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const unsigned other = __shfl_up_sync(kAll, up_to_here, distance);
      if (lane >= distance) up_to_here += other;
    }
    before = up_to_here - counts;
    warp_counts = __shfl_sync(kAll, up_to_here, 31);
  }
  if (lane == 0) shared_counts[warp] = SumOfBytes(warp_counts);
  __syncthreads();
  unsigned place = 0, tile_count = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    if (w == warp) place = tile_count;
    tile_count += shared_counts[w];
  }
  if (warp == 0) {
    const unsigned words_before = CountBefore(state->tiles, tile, tile_count);
    if (lane == 0) {
      shared_before = words_before;
      if (tile == num_tiles - 1) state->total = static_cast<long long>(words_before) + tile_count;
    }
  }
  __syncthreads();
  if (sent == 0) return;
  int64_t next = static_cast<int64_t>(shared_before) + place;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    int64_t at = next + (before >> (8 * q) & 255);
    next += warp_counts >> (8 * q) & 255;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (!(sent >> (4 * q + c) & 1)) continue;
      const int64_t index = first + q * 128 + c;
      const float sum = sums[4 * q + c];
      if (at < capacity) {
        words[at] = static_cast<int32_t>(index << 1 | (sum > 0));
      } else {
        residual[index] = sum;  // no room: nothing is to be sent, see Finish
      }
      ++at;
    }
  }
}

// The count; where nothing is to be sent after all, the words back into the residual.
__global__ void Finish(const EncodeState* state, const int32_t* words, int64_t capacity, float tau, float* residual,
                       int64_t* count) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const unsigned bad = state->bad;
  const int64_t total = state->total;
  const bool send = bad == 0 && total <= capacity;
  if (thread == 0) *count = send ? total : bad != 0 ? kGtcNotFinite - (kBadFrom - bad) : kGtcNoRoom - total;
  if (send) return;
  const int64_t written = total < capacity ? total : capacity;
  for (int64_t i = thread; i < written; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    residual[words[i] >> 1] += words[i] & 1 ? tau : -tau;
  }
}

}  // namespace

int64_t GtcEncodeScratchBytes(int64_t n) {
  return static_cast<int64_t>(sizeof(EncodeState)) + NumTiles(n) * static_cast<int64_t>(sizeof(TileCount));
}

void GtcEncodeCuda(const float* grad, float* residual, int64_t n, float tau, int32_t* words, int64_t capacity,
                   int64_t* count, void* scratch, CudaStream stream) {
  CheckGtcSize(n);
  auto* state = static_cast<EncodeState*>(scratch);
  const int64_t num_tiles = NumTiles(n);
  CheckCuda(cudaMemsetAsync(scratch, 0, GtcEncodeScratchBytes(n), stream), "clearing the counts of tiles");
  if (num_tiles > 0) {
    const bool aligned = reinterpret_cast<uintptr_t>(grad) % 16 == 0 && reinterpret_cast<uintptr_t>(residual) % 16 == 0;
    const auto encode = aligned ? Encode<true> : Encode<false>;
    encode<<<static_cast<unsigned>(num_tiles), kThreads, 0, stream>>>(grad, residual, n, tau, words, capacity,
                                                                      num_tiles, state);
    CheckLaunch("GTC encode");
  }
  Finish<<<kFinishBlocks, 256, 0, stream>>>(state, words, capacity, tau, residual, count);
  CheckLaunch("GTC finish");
}

}  // namespace pyasr
