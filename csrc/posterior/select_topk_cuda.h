// The parts of pack_topk_cuda.cu that find the k best of a row of logits, for .cu files.
#pragma once

#include <cuda_pipeline.h>

#include <cstdint>

#include "posterior/format.h"
#include "posterior/select_topk.h"

namespace pyasr {
namespace topk {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kGroups = 128;    // whose maxima give the threshold: 4 a lane of one warp
constexpr int kCapacity = 256;  // of logits that reach it
constexpr int kMostRows = 32;   // of a team, one after the other, before their values are coded

__device__ __forceinline__ void Unpack4(float4 v, float* x) { x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w; }
__device__ __forceinline__ void Unpack4(uint2 v, float* x) {
  x[0] = __uint_as_float(v.x << 16), x[1] = __uint_as_float(v.x & 0xffff0000u);
  x[2] = __uint_as_float(v.y << 16), x[3] = __uint_as_float(v.y & 0xffff0000u);
}
__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(Bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ const float4* Vector(const float* p) { return reinterpret_cast<const float4*>(p); }
__device__ __forceinline__ const uint2* Vector(const Bf16* p) { return reinterpret_cast<const uint2*>(p); }
__device__ __forceinline__ void SetToMinusInfinity(float* x) { *x = -INFINITY; }
__device__ __forceinline__ void SetToMinusInfinity(Bf16* x) { x->bits = 0xff80; }

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
__device__ __forceinline__ float OfOrder(unsigned order) {
  return __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
}

// Ascends with x, and of equal ones falls with the id: no two of a row are the same.
__device__ __forceinline__ uint64_t KeyOf(float x, int id) {
  return static_cast<uint64_t>(OrderOf(x)) << 32 | ~static_cast<unsigned>(id);
}
__device__ __forceinline__ float LogitOf(uint64_t key) { return OfOrder(static_cast<unsigned>(key >> 32)); }
__device__ __forceinline__ int IdOf(uint64_t key) { return static_cast<int>(~static_cast<unsigned>(key)); }

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

// A row as a team sees it, in vectors of four that begin where a multiple of their size lies, so that the first and
// the last may hold what is not the row's: it counts as -inf. One warp has its row in shared memory (Stage), and -inf
// around it; more warps read theirs where it is, and what lies beside it in the same 16 bytes.
template <typename T, int kWarps>
struct Row {
  using Threads = Team<kWarps>;
  static constexpr int kStride = 4 * Threads::kThreads;
  const T* base;
  int before;  // elements between base and the row
  int end;     // of the row, from base

  __device__ __forceinline__ bool Has(int id) const {
    return static_cast<unsigned>(id) < static_cast<unsigned>(end - before);
  }

  __device__ __forceinline__ void LoadVector(int place, float* out) const {
    if constexpr (kWarps == 1) {
      Unpack4(*Vector(base + place), out);
    } else {
      if (place < end) Unpack4(__ldcs(Vector(base + place)), out);
      // Most vectors lie inside for all threads together.
      const int first = place - 4 * Threads::Thread();
      if (first >= before && first + kStride <= end) return;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (place + c < before || place + c >= end) out[c] = -INFINITY;
      }
    }
  }

  // visit(x, place) for this thread's vectors from `first`, a multiple of kStride, to `last`; some may be -inf alone.
  template <typename F>
  __device__ __forceinline__ void ForVectors(int first, int last, const F& visit) const {
    constexpr int kTogether = kWarps == 1 ? 1 : 2;  // loads under way; the compiler sees to those from shared memory
#pragma unroll(kWarps == 1 ? 4 : 1)
    for (; first < last; first += kTogether * kStride) {
      const int place = first + 4 * Threads::Thread();
      float x[kTogether][4];
#pragma unroll
      for (int v = 0; v < kTogether; ++v) LoadVector(place + v * kStride, x[v]);
#pragma unroll
      for (int v = 0; v < kTogether; ++v) visit(x[v], place + v * kStride);
    }
  }

  // visit(x, id) for the row's logits.
  template <typename F>
  __device__ __forceinline__ void ForLogits(const F& visit) const {
    ForVectors(0, end, [&](const float* x, int place) {
      for (int c = 0; c < 4; ++c) {
        if (Has(place + c - before)) visit(x[c], place + c - before);
      }
    });
  }
};

template <typename T, int kWarps>
__device__ __forceinline__ Row<T, kWarps> RowAt(const T* row, int size) {
  const int before = static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(T) % 4);
  return {row - before, before, before + size};
}

// A warp's row in shared memory, to which it is copied in whole 16 bytes.
template <typename T>
struct Stage {
  static constexpr int kStride = Row<T, 1>::kStride;

  static __host__ __device__ int Bytes(int size) {
    return (size + 3 + kStride - 1) / kStride * kStride * static_cast<int>(sizeof(T)) + 16;
  }

  // After all lanes have done with the row before.
  static __device__ __forceinline__ void Begin(const T* row, int size, char* stage) {
    const int beside = static_cast<int>(reinterpret_cast<uintptr_t>(row) % 16), first = 16 * Team<1>::Thread();
    const char* from = reinterpret_cast<const char*>(row) - beside + first;
    char* to = stage + first;
#pragma unroll 4
    for (int left = beside + size * static_cast<int>(sizeof(T)) - first; left > 0; left -= 16 * 32) {
      __pipeline_memcpy_async(to, from, 16);
      to += 16 * 32, from += 16 * 32;
    }
    __pipeline_commit();
  }

  static __device__ __forceinline__ Row<T, 1> Finish(const T* row, int size, char* stage) {
    const int lane = Team<1>::Thread();
    const int place = static_cast<int>(reinterpret_cast<uintptr_t>(row) % 16 / sizeof(T));
    const int before = place % 4, end = before + size, filled = (end + kStride - 1) / kStride * kStride;
    T* const base = reinterpret_cast<T*>(stage) + place - before;
    __pipeline_wait_prior(0);
    __syncwarp();  // the other lanes' copies are there, too
    if (lane < before) SetToMinusInfinity(base + lane);
#pragma unroll 1
    for (int i = end + lane; i < filled; i += 32) SetToMinusInfinity(base + i);
    __syncwarp();
    return {base, before, end};
  }
};

template <int kWarps>
struct Shared {
  uint64_t key[kCapacity];  // of the candidates
  double sum[kMostRows];    // of exp(x - maximum), of the rows that are done; 0: refused
  double partial[kWarps];
  int counts[kWarps];
  float group[kWarps == 1 ? 1 : kGroups];
  float threshold, max;
  int num_candidates;
  uint16_t best_id[kMaxTopk];
};

__device__ __forceinline__ double SumOfWarp(double x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
}

__device__ __forceinline__ float MaxOf(const float* x) { return fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3])); }

__device__ __forceinline__ float MaxOfWarp(float x) { return OfOrder(__reduce_max_sync(kAll, OrderOf(x))); }

// By one warp: a number that at least k of the groups' maxima reach, and not many more; infinity where it finds none, as
// with fewer than k finite ones. It does as select_topk.isa.cc, but tries three numbers at a time, for each sum over the
// warp is waited for.
__device__ __forceinline__ float Threshold(const float* groups, float highest, int k) {
  constexpr unsigned kBits = 10, kMask = (1u << kBits) - 1;
  float low = -INFINITY, high = highest;  // fewer than k are above high
  int count = kGroups;                    // that reach low
  // a > b > c: the highest that k reach becomes low, the one above it high.
  const auto narrow = [&](float a, float b, float c) {
    unsigned below_a = 0, below_b = 0, below_c = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // the sign of the difference: fewer instructions than a comparison
      below_a += __float_as_uint(groups[i] - a) >> 31;
      below_b += __float_as_uint(groups[i] - b) >> 31;
      below_c += __float_as_uint(groups[i] - c) >> 31;
    }
    const unsigned below = __reduce_add_sync(kAll, below_a + (below_b << kBits) + (below_c << 2 * kBits));
    const int of_a = kGroups - (below & kMask), of_b = kGroups - (below >> kBits & kMask);
    const int of_c = kGroups - (below >> 2 * kBits);
    if (of_a >= k) {
      low = a, count = of_a;
    } else if (of_b >= k) {
      high = a, low = b, count = of_b;
    } else {
      high = of_c >= k ? b : c;
      if (of_c >= k) low = c, count = of_c;
    }
  };
#pragma unroll 1
  for (float step = 4; low == -INFINITY; step *= 64) {
    if (!(step < 1e37f && highest - 16 * step > -INFINITY)) return INFINITY;
    narrow(highest - step, highest - 4 * step, highest - 16 * step);
  }
#pragma unroll 1
  for (int round = 0; round < 8 && count > k + k / 4; ++round) {
    const float middle = 0.5f * low + 0.5f * high;
    narrow(0.5f * middle + 0.5f * high, middle, 0.5f * low + 0.5f * middle);
  }
  return low;
}

// How many logits of the team's row pass. For all threads, together.
template <int kWarps, typename R, typename F>
__device__ int CountIf(const R& row, Shared<kWarps>* shared, const F& passes) {
  int count = 0;
  row.ForLogits([&](float x, int id) { count += passes(x, id); });
  count = __reduce_add_sync(kAll, count);
  if constexpr (kWarps == 1) return count;
  if (threadIdx.x % 32 == 0) shared->counts[threadIdx.x / 32] = count;
  __syncthreads();
  int total = 0;
  for (int w = 0; w < kWarps; ++w) total += shared->counts[w];
  __syncthreads();
  return total;
}

// Exactly the k best become the candidates: for rows without a threshold, and where more than kCapacity logits reach it
// (many equal ones). Reads the row some fifty times.
template <typename T, int kWarps>
__device__ __noinline__ void SelectExactly(Row<T, kWarps> row, int k, Shared<kWarps>* shared) {
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
  row.ForLogits([&](float x, int id) {
    if (OrderOf(x) < kth || (OrderOf(x) == kth && id > last)) return;
    shared->key[atomicAdd(&shared->num_candidates, 1)] = KeyOf(x, id);
  });
}

// The highest logit of the team's row, and the threshold. For all threads, together.
template <typename T, int kWarps>
__device__ __forceinline__ float2 MaxAndThreshold(const Row<T, kWarps>& row, int k, Shared<kWarps>* shared) {
  float groups[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  row.ForVectors(0, row.end, [&](const float* x, int) {
#pragma unroll
    for (int c = 0; c < 4; ++c) groups[c] = fmaxf(groups[c], x[c]);
  });
  if constexpr (kWarps == 1) {
    const float max = MaxOfWarp(MaxOf(groups));
    return {max, Threshold(groups, max, k)};
  } else {
    const int thread = Team<kWarps>::Thread();
    static_assert(Team<kWarps>::kThreads % kGroups == 0);
    constexpr int kLanes = Team<kWarps>::kThreads / kGroups;
    float own = MaxOf(groups);
#pragma unroll
    for (int distance = 1; distance < kLanes; distance *= 2) own = fmaxf(own, __shfl_xor_sync(kAll, own, distance));
    if (thread % kLanes == 0) shared->group[thread / kLanes] = own;
    __syncthreads();
    if (thread < 32) {
#pragma unroll
      for (int i = 0; i < 4; ++i) groups[i] = shared->group[4 * thread + i];
      const float max = MaxOfWarp(MaxOf(groups)), threshold = Threshold(groups, max, k);
      if (thread == 0) shared->max = max, shared->threshold = threshold;
    }
    __syncthreads();
    return {shared->max, shared->threshold};
  }
}

// Makes candidates of the logits that reach the threshold, of this thread's vectors that hold some: bit b of `reached`
// is the one at newest - b * kStride. One logit of each lane at a time, for few lanes hold more than one or two. count:
// of the team's candidates. For all threads of a warp, together.
template <typename T, int kWarps>
__device__ __forceinline__ void AddCandidates(const Row<T, kWarps>& row, unsigned reached, int newest, float threshold,
                                              int* count, uint64_t* key) {
  int place = 0;
  unsigned components = 0;  // of the vector there, still to be added
  while (__any_sync(kAll, (reached | components) != 0)) {
    if (components == 0 && reached != 0) {
      place = newest - (__ffs(reached) - 1) * Row<T, kWarps>::kStride;
      reached &= reached - 1;
      float x[4];
      row.LoadVector(place, x);
#pragma unroll
      for (int c = 0; c < 4; ++c) components |= (x[c] >= threshold) << c;
    }
    int at = kCapacity;
    if constexpr (kWarps == 1) {
      const unsigned lanes = __ballot_sync(kAll, components != 0);
      if (components != 0) at = *count + __popc(lanes & ((1u << threadIdx.x % 32) - 1));
      *count += __popc(lanes);
    } else if (components != 0) {
      at = atomicAdd(count, 1);
    }
    const int of_logit = place + __ffs(components) - 1;
    if (at < kCapacity) key[at] = KeyOf(ToFloat(row.base[of_logit]), of_logit - row.before);
    components &= components - 1;
  }
}

struct Found {
  int num_candidates;  // at least the k best
  double sum;          // of exp(x - maximum); 0: the row is to be refused
};

// The candidates of the team's row, in shared->key. For all threads, together.
template <typename T, int kWarps>
__device__ __forceinline__ Found FindCandidates(const Row<T, kWarps>& row, int k, Shared<kWarps>* shared) {
  constexpr int kStride = Row<T, kWarps>::kStride;
  const int thread = Team<kWarps>::Thread();
  if (thread == 0) shared->num_candidates = 0;
  const float2 both = MaxAndThreshold(row, k, shared);
  const float max = both.x, threshold = both.y;

  float parts[4] = {0, 0, 0, 0};
  int own_count = 0;
  int* const count = kWarps == 1 ? &own_count : &shared->num_candidates;
  for (int first = 0; first < row.end; first += 32 * kStride) {
    unsigned reached = 0;  // a bit a vector
    int newest = 0;
    row.ForVectors(first, min(first + 32 * kStride, row.end), [&](const float* x, int place) {
#pragma unroll
      for (int c = 0; c < 4; ++c) parts[c] += ExpBelow(x[c], max);
      reached = 2 * reached + (MaxOf(x) >= threshold);
      newest = place;
    });
    AddCandidates(row, reached, newest, threshold, count, shared->key);
  }
  double sum = SumOfWarp(static_cast<double>(parts[0] + parts[1]) + (parts[2] + parts[3]));
  if constexpr (kWarps > 1) {
    if (thread % 32 == 0) shared->partial[thread / 32] = sum;
  }
  Team<kWarps>::Sync();
  if constexpr (kWarps > 1) {
    sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += shared->partial[w];
  }
  // NaN among the logits makes the sum NaN. The same for all threads, as what follows from the count is.
  if (!(max > -INFINITY && max < INFINITY && sum == sum)) return {0, 0};
  int num_candidates = *count;
  if (num_candidates < k || num_candidates > kCapacity) {
    Team<kWarps>::Sync();  // all have read the number, which is about to change
    SelectExactly(row, k, shared);
    Team<kWarps>::Sync();
    num_candidates = k;
  }
  return {num_candidates, sum};
}

}  // namespace topk
}  // namespace pyasr
