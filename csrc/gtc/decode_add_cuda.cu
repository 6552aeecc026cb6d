#include <algorithm>

#include "base/check.h"
#include "base/cuda_check.h"
#include "gtc/gtc_cuda.h"
#include "gtc/words.h"

namespace pyasr {
namespace {

constexpr int kThreads = 256;
constexpr int kMostMessages = 64;  // a launch; what kernels get as parameters is limited
constexpr int64_t kBlockElements = 1 << 14;
constexpr int kCheckBlocks = 32;  // a message

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

__global__ void Check(const __grid_constant__ Messages messages, int64_t n, unsigned long long* status) {
  const GtcMessage& message = messages.at[blockIdx.y];
  const unsigned long long number = static_cast<unsigned long long>(messages.first + blockIdx.y) << 32;
  const int64_t count = CountOf(message);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (count > message.capacity) {
    if (thread == 0) atomicMin(status, number | static_cast<unsigned long long>(message.capacity));
    return;
  }
  for (int64_t i = thread; i < count; i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int32_t index = GtcIndex(message.words[i]);
    const bool good = index >= 0 && index < n && (i == 0 || index > GtcIndex(message.words[i - 1]));
    if (!good) atomicMin(status, number | static_cast<unsigned long long>(i));
  }
}

// The first word whose index is not below `index`.
__device__ int LowerBound(const int32_t* words, int64_t count, int64_t index) {
  int64_t first = 0, end = count;
  while (first < end) {
    const int64_t middle = (first + end) / 2;
    if (GtcIndex(words[middle]) < index) {
      first = middle + 1;
    } else {
      end = middle;
    }
  }
  return static_cast<int>(first);
}

// A block adds all messages to its elements, one message after the other: so every element gets them in their order,
// and as no index comes twice in a message, no two threads meet at one.
__global__ void __launch_bounds__(kThreads) Add(const __grid_constant__ Messages messages, float step,
                                                float* __restrict__ out, const unsigned long long* status) {
  __shared__ int bounds[2 * kMostMessages];
  if (*status != static_cast<unsigned long long>(kGtcGood)) return;  // the same for all threads
  for (int i = threadIdx.x; i < 2 * messages.size; i += kThreads) {
    const GtcMessage& message = messages.at[i / 2];
    bounds[i] = LowerBound(message.words, CountOf(message), (blockIdx.x + i % 2) * kBlockElements);
  }
  __syncthreads();
  for (int m = 0; m < messages.size; ++m) {
    const int begin = bounds[2 * m], end = bounds[2 * m + 1];
    if (begin == end) continue;  // the same for all threads
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
      const int32_t word = messages.at[m].words[i];
      out[GtcIndex(word)] += word & 1 ? step : -step;
    }
    __syncthreads();
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
  const auto blocks = static_cast<unsigned>((n + kBlockElements - 1) / kBlockElements);
  for (const Messages& part : parts) {
    Add<<<blocks, kThreads, 0, stream>>>(part, step, out, first_bad);
    CheckLaunch("GTC add");
  }
}

}  // namespace pyasr
