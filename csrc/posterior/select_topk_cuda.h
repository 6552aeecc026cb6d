// The parts of pack_topk_cuda.cu that find the k best of a row of logits, for .cu files.
#pragma once

#include <cstdint>

#include "posterior/format.h"
#include "posterior/select_topk.h"

namespace pyasr {
namespace topk {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kGroups = 128;    // whose maxima give the threshold: 4 a lane of one warp
constexpr int kCapacity = 256;  // of logits that reach it
constexpr int kMostRows = 32;   // of a team, one after the other
constexpr int kLongTeam = 16;   // warps that share a long row

__device__ __forceinline__ void Load4(const float* p, float* x) {
  const float4 v = __ldcs(reinterpret_cast<const float4*>(p));
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
__device__ __forceinline__ void Load4(const Bf16* p, float* x) {
  const uint2 v = __ldcs(reinterpret_cast<const uint2*>(p));
  x[0] = __uint_as_float(v.x << 16), x[1] = __uint_as_float(v.x & 0xffff0000u);
  x[2] = __uint_as_float(v.y << 16), x[3] = __uint_as_float(v.y & 0xffff0000u);
}

// exp(x - max) for x <= max.
__device__ __forceinline__ float ExpBelow(float x, float max) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"((x - max) * 1.44269504f));
  return y;
}

// Ascends with x; the same for both zeros.
__device__ __forceinline__ unsigned OrderOf(float x) {
  const unsigned bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// What works on a row together: one warp, or a block of more.
template <int kWarps>
struct Team {
  static constexpr int kThreads = 32 * kWarps;
  static __device__ __forceinline__ int Thread() { return kWarps == 1 ? threadIdx.x % 32 : threadIdx.x; }
  static __device__ __forceinline__ void Sync() {
    if constexpr (kWarps == 1) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
};

// A thread's logits of a row. Vectors of four are read from where a multiple of their size lies, so that the first and
// the last may hold what is not the row's: it lies beside it in the same 16 bytes, and counts as -inf.
template <typename T, int kWarps, int kVectors>
struct Row {
  using Threads = Team<kWarps>;
  static constexpr bool kInRegisters = kVectors > 0;
  static constexpr int kStride = 4 * Threads::kThreads;
  const T* base;
  int before;  // elements between base and the row
  int end;     // of the row, from base
  float x[kInRegisters ? 4 * kVectors : 1];

  __device__ __forceinline__ void Start(const T* row, int size) {
    before = static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(T) % 4);
    base = row - before;
    end = before + size;
  }

  __device__ __forceinline__ bool Has(int id) const {
    return static_cast<unsigned>(id) < static_cast<unsigned>(end - before);
  }

  __device__ __forceinline__ void LoadVector(int place, float* out) const {
    if (place < end) Load4(base + place, out);
    // Most vectors lie inside for all threads together.
    const int first = place - 4 * Threads::Thread();
    if (first >= before && first + kStride <= end) return;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (place + c < before || place + c >= end) out[c] = -INFINITY;
    }
  }

  // visit(x, component) for all logits, and for some -inf that are none, from memory.
  template <typename F>
  __device__ __forceinline__ void Load(const F& visit) {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) LoadVector(v * kStride + 4 * Threads::Thread(), x + 4 * v);
#pragma unroll
      for (int i = 0; i < 4 * kVectors; ++i) visit(x[i], i % 4);
    } else {
      ForAll([&](float logit, int, int component) { visit(logit, component); });
    }
  }

  // visit(x, id, component), likewise; Has(id) tells which are none. After Load.
  template <typename F>
  __device__ __forceinline__ void ForAll(const F& visit) const {
    const int thread = 4 * Threads::Thread();
    if constexpr (kInRegisters) {
#pragma unroll
      for (int i = 0; i < 4 * kVectors; ++i) visit(x[i], i / 4 * kStride + thread + i % 4 - before, i % 4);
    } else {
      constexpr int kTogether = 4;  // loads under way
      for (int first = thread; first < end; first += kTogether * kStride) {
        float some[4 * kTogether];
#pragma unroll
        for (int v = 0; v < kTogether; ++v) LoadVector(first + v * kStride, some + 4 * v);
#pragma unroll
        for (int i = 0; i < 4 * kTogether; ++i) visit(some[i], first + i / 4 * kStride + i % 4 - before, i % 4);
      }
    }
  }
};

template <int kWarps>
struct Shared {
  float group[kWarps == 1 ? 1 : kGroups];
  float threshold, max;
  int num_candidates;
  float logit[kCapacity];
  int id[kCapacity];
  double partial[kWarps];
  int counts[kWarps];
  int best_id[kMaxTopk];
  // Of the rows that are done, for the end: the logits whose gaps are to be coded, tail and head; head 0: refused.
  float best[kMostRows][kMaxTopk];
  double tail[kMostRows], head[kMostRows];
};

__device__ __forceinline__ double SumOfWarp(double x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
}

__device__ __forceinline__ float MaxOfWarp(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, distance));
  return x;
}

// By one warp: a number that at least k of the groups' maxima reach, and not many more (select_topk.isa.cc does it
// likewise); -inf where fewer than k have a finite one.
__device__ __forceinline__ float Threshold(const float* groups, float highest, int k) {
  const auto reaching = [&](float x) {
    int count = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) count += groups[i] >= x;
    return __reduce_add_sync(kAll, count);
  };
  float too_high = highest, threshold = -INFINITY;
  for (float step = 4; step < 1e38f; step *= 4) {
    if (reaching(highest - step) >= k) {
      threshold = highest - step;
      break;
    }
    too_high = highest - step;
  }
  if (threshold == -INFINITY) return threshold;
  for (int bisection = 0; bisection < 16; ++bisection) {
    const float middle = 0.5f * threshold + 0.5f * too_high;
    const int count = reaching(middle);
    if (count < k) {
      too_high = middle;
    } else {
      threshold = middle;
      if (count <= k + k / 4) break;
    }
  }
  return threshold;
}

// How many logits of the team's row pass. For all threads, together.
template <int kWarps, typename R, typename F>
__device__ int CountIf(const R& row, Shared<kWarps>* shared, const F& passes) {
  int count = 0;
  row.ForAll([&](float x, int id, int) { count += row.Has(id) && passes(x, id); });
  count = __reduce_add_sync(kAll, count);
  if constexpr (kWarps == 1) return count;
  if (threadIdx.x % 32 == 0) shared->counts[threadIdx.x / 32] = count;
  __syncthreads();
  int total = 0;
  for (int w = 0; w < kWarps; ++w) total += shared->counts[w];
  __syncthreads();
  return total;
}

// Exactly the k best become the candidates: for rows where more than kCapacity reach the threshold (many equal ones).
// Reads the row from memory, some fifty times: logits in registers that are handed over would lie in memory always.
template <typename T, int kWarps>
__device__ __noinline__ void SelectExactly(const T* logits, int size, int k, Shared<kWarps>* shared) {
  Row<T, kWarps, 0> row;
  row.Start(logits, size);
  unsigned kth = 0;  // in the order of OrderOf
  for (int bit = 31; bit >= 0; --bit) {
    const unsigned higher = kth | 1u << bit;
    if (CountIf(row, shared, [=](float x, int) { return OrderOf(x) >= higher; }) >= k) kth = higher;
  }
  const int needed = k - CountIf(row, shared, [=](float x, int) { return OrderOf(x) > kth; });
  int last = 0;  // id of the last one of those equal to the k-th that is needed
  for (int bit = 16; bit >= 0; --bit) {
    const int higher = last | 1 << bit;
    const auto before = [=](float x, int id) { return OrderOf(x) == kth && id < higher; };
    if (CountIf(row, shared, before) < needed) last = higher;
  }
  if (Team<kWarps>::Thread() == 0) shared->num_candidates = 0;
  Team<kWarps>::Sync();
  row.ForAll([&](float x, int id, int) {
    if (!row.Has(id) || !(OrderOf(x) > kth || (OrderOf(x) == kth && id <= last))) return;
    const int place = atomicAdd(&shared->num_candidates, 1);
    shared->logit[place] = x;
    shared->id[place] = id;
  });
  Team<kWarps>::Sync();
}

}  // namespace topk
}  // namespace pyasr
