#include <algorithm>

#include "base/check.h"
#include "base/cuda_check.h"
#include "gtc/gtc_cuda.h"
#include "gtc/words.h"

namespace pyasr {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kMostMessages = 16;  // a launch: two bits each in the marks of an element
constexpr int kTile = 1 << 13;     // elements whose marks a block has in shared memory: 32 KiB
constexpr int kBlocksAtOnce = 6;   // a multiprocessor
constexpr int kMostBlocks = 128 * kBlocksAtOnce;  // so that all run at once: each searches in all messages
constexpr int kCheckBlocks = 128;  // a message
constexpr int kAtOnce = 4;         // words a thread asks for before it looks at the first

struct Messages {
  int size;
  int first;  // number of the first one
  GtcMessage at[kMostMessages];
};

__device__ int64_t CountOf(const GtcMessage& message) {
  if (message.count == nullptr) return message.capacity;
  const int64_t count = *message.count;
  return count < 0 ? 0 : count;
}

__global__ void __launch_bounds__(kThreads)
    Check(const __grid_constant__ Messages messages, int64_t n, unsigned long long* status) {
  const GtcMessage& message = messages.at[blockIdx.y];
  const unsigned long long number = static_cast<unsigned long long>(messages.first + blockIdx.y) << 32;
  const int64_t count = CountOf(message);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  constexpr int64_t kAllThreads = kCheckBlocks * kThreads;
  if (count > message.capacity) {
    if (thread == 0) atomicMin(status, number | static_cast<unsigned long long>(message.capacity));
    return;
  }
  for (int64_t begin = thread; begin < count; begin += kAtOnce * kAllThreads) {
    int32_t index[kAtOnce], before[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int64_t i = begin + k * kAllThreads;
      index[k] = i < count ? GtcIndex(message.words[i]) : 0;
      before[k] = i < count && i > 0 ? GtcIndex(message.words[i - 1]) : -1;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int64_t i = begin + k * kAllThreads;
      // The first negative index is behind one that is not, or the first word: so it is found.
      const bool good = i >= count || (index[k] > before[k] && index[k] < n);
      if (!good) atomicMin(status, number | static_cast<unsigned long long>(i));
    }
  }
}

// By a whole warp: the number of words below `bound`, which come first. Each look leaves a 32nd.
__device__ int LowerBound(const int32_t* words, int count, unsigned bound) {
  const int lane = threadIdx.x % 32;
  int first = 0, end = count;
  while (first < end) {
    const int step = (end - first + 31) / 32, last = first + (lane + 1) * step - 1;  // of the lane's part
    const bool below = last < end && static_cast<unsigned>(words[last]) < bound;
    first += step * __popc(__ballot_sync(kAll, below));
    end = min(end, first + step - 1);
  }
  return first;
}

// By a whole warp: calls work(places) with kAtOnce words a lane, as their places in a tile's bits, until all that
// belong to the tile had their turn. Returns their number. Other places are 2 kTile or more.
template <typename Work>
__device__ int ForTile(const int32_t* words, int begin, int count, unsigned first_word, Work work) {
  unsigned found = 0, places[kAtOnce];
  int i = begin + static_cast<int>(threadIdx.x % 32);
  do {
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      places[k] = i + 32 * k < count ? static_cast<unsigned>(words[i + 32 * k]) - first_word : 2 * kTile;
    }
    work(places);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) found += places[k] < 2 * kTile;
    i += 32 * kAtOnce;
  } while (__all_sync(kAll, places[kAtOnce - 1] < 2 * kTile));
  return static_cast<int>(__reduce_add_sync(kAll, found));
}

// A block takes one tile after the other. First all words leave their marks, message m bit 2 m for -step, or the one
// above it for +step; then who comes first takes an element's marks, and adds them in the order of the messages. A warp
// has every eighth message.
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce)
    Add(const __grid_constant__ Messages messages, float step, int64_t n, int64_t block_elements, float* out,
        const unsigned long long* status) {
  constexpr int kMine = kMostMessages / kWarps;
  __shared__ unsigned marks[kTile];
  if (*status != static_cast<unsigned long long>(kGtcGood)) return;  // the same for all threads
  for (int i = threadIdx.x; i < kTile; i += kThreads) marks[i] = 0;
  const int64_t first = blockIdx.x * block_elements, end = min(n, first + block_elements);
  const int warp = threadIdx.x / 32;
  int next[kMine], count[kMine];  // good messages have at most n words
#pragma unroll
  for (int j = 0; j < kMine; ++j) {
    const int m = warp + j * kWarps;
    count[j] = m < messages.size ? static_cast<int>(CountOf(messages.at[m])) : 0;
    next[j] = m < messages.size ? LowerBound(messages.at[m].words, count[j], static_cast<unsigned>(2 * first)) : 0;
  }
  for (int64_t tile = first; tile < end; tile += kTile) {
    const auto first_word = static_cast<unsigned>(2 * tile);
    __syncthreads();  // all marks are taken
#pragma unroll
    for (int j = 0; j < kMine; ++j) {
      const int m = warp + j * kWarps;
      if (next[j] == count[j]) continue;
      ForTile(messages.at[m].words, next[j], count[j], first_word, [&](const unsigned (&places)[kAtOnce]) {
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          if (places[k] >= 2 * kTile) continue;
          atomicOr(&marks[places[k] / 2], 1u << (2 * m + places[k] % 2));
          asm volatile("prefetch.global.L2 [%0];" ::"l"(out + tile + places[k] / 2));  // a fifth faster at 1 %
        }
      });
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kMine; ++j) {
      const int m = warp + j * kWarps;
      if (next[j] == count[j]) continue;
      next[j] += ForTile(messages.at[m].words, next[j], count[j], first_word, [&](const unsigned (&places)[kAtOnce]) {
        unsigned taken[kAtOnce];
        float sums[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) taken[k] = places[k] < 2 * kTile ? atomicExch(&marks[places[k] / 2], 0u) : 0;
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) sums[k] = taken[k] != 0 ? out[tile + places[k] / 2] : 0.0f;
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          if (taken[k] == 0) continue;
          for (unsigned left = taken[k]; left != 0; left &= left - 1) {
            sums[k] += __ffs(static_cast<int>(left)) % 2 == 1 ? -step : step;  // __ffs counts bits from 1
          }
          out[tile + places[k] / 2] = sums[k];
        }
      });
    }
  }
}

}  // namespace

void GtcDecodeAddCuda(const std::vector<GtcMessage>& messages, float step, float* out, int64_t n, int64_t* status,
                      CudaStream stream) {
  CheckGtcSize(n);
  CheckCuda(cudaMemsetAsync(status, 0xff, sizeof *status, stream), "clearing the status");
  static_assert(kGtcGood == -1);
  auto* const first_bad = reinterpret_cast<unsigned long long*>(status);
  std::vector<Messages> parts;
  for (size_t i = 0; i < messages.size(); i += kMostMessages) {
    Messages part{static_cast<int>(std::min<size_t>(kMostMessages, messages.size() - i)), static_cast<int>(i), {}};
    std::copy_n(messages.begin() + static_cast<int64_t>(i), part.size, part.at);
    parts.push_back(part);
  }
  for (const Messages& part : parts) {
    Check<<<dim3(kCheckBlocks, part.size), kThreads, 0, stream>>>(part, n, first_bad);
    CheckLaunch("GTC check");
  }
  if (n == 0) return;
  const int64_t tiles = (n + kTile - 1) / kTile, tiles_a_block = (tiles + kMostBlocks - 1) / kMostBlocks;
  const auto blocks = static_cast<unsigned>((tiles + tiles_a_block - 1) / tiles_a_block);
  for (const Messages& part : parts) {
    Add<<<blocks, kThreads, 0, stream>>>(part, step, n, tiles_a_block * kTile, out, first_bad);
    CheckLaunch("GTC add");
  }
}

}  // namespace pyasr
