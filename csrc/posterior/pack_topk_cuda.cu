#include <algorithm>

#include "base/cuda_check.h"
#include "posterior/topk_cuda.h"

namespace pyasr {
namespace {

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

// The byte of the ids' part (format.h).
__device__ uint8_t IdByte(const int* ids, int k, int id_bits, int byte) {
  uint32_t bits = 0;
  for (int i = 8 * byte / id_bits; i < k && i * id_bits < 8 * byte + 8; ++i) {
    const int shift = i * id_bits - 8 * byte;
    bits |= shift >= 0 ? static_cast<uint32_t>(ids[i]) << shift : static_cast<uint32_t>(ids[i]) >> -shift;
  }
  return static_cast<uint8_t>(bits);
}

// One row by the whole team: its ids are written, and what the rest follows from is left in shared for row number `slot`.
template <typename T, int kWarps, int kVectors>
__device__ __forceinline__ void PackRow(const T* logits, const TopkFormat& format, int slot, Shared<kWarps>* shared,
                                        uint8_t* out) {
  using Threads = Team<kWarps>;
  const int thread = Threads::Thread(), k = static_cast<int>(format.k), size = static_cast<int>(format.num_senones);
  Row<T, kWarps, kVectors> row;
  row.Start(logits, size);

  float groups[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  row.Load([&](float x, int component) { groups[component] = fmaxf(groups[component], x); });
  if (thread == 0) shared->num_candidates = 0;
  float max, threshold;
  if constexpr (kWarps == 1) {
    max = MaxOfWarp(fmaxf(fmaxf(groups[0], groups[1]), fmaxf(groups[2], groups[3])));
    threshold = Threshold(groups, max, k);
  } else {
    static_assert(Threads::kThreads % kGroups == 0);
    constexpr int kLanes = Threads::kThreads / kGroups;
    float own = fmaxf(fmaxf(groups[0], groups[1]), fmaxf(groups[2], groups[3]));
#pragma unroll
    for (int distance = 1; distance < kLanes; distance *= 2) own = fmaxf(own, __shfl_xor_sync(kAll, own, distance));
    if (thread % kLanes == 0) shared->group[thread / kLanes] = own;
    __syncthreads();
    if (thread < 32) {
#pragma unroll
      for (int i = 0; i < 4; ++i) groups[i] = shared->group[4 * thread + i];
      max = MaxOfWarp(fmaxf(fmaxf(groups[0], groups[1]), fmaxf(groups[2], groups[3])));
      threshold = Threshold(groups, max, k);
      if (thread == 0) shared->max = max, shared->threshold = threshold;
    }
    __syncthreads();
    max = shared->max, threshold = shared->threshold;
  }
  Threads::Sync();  // num_candidates is 0

  float parts[4] = {0, 0, 0, 0};
  row.ForAll([&](float x, int id, int component) {
    parts[component] += ExpBelow(x, max);
    if (x >= threshold && row.Has(id)) {
      const int place = atomicAdd(&shared->num_candidates, 1);
      if (place < kCapacity) {
        shared->logit[place] = x;
        shared->id[place] = id;
      }
    }
  });
  double sum = SumOfWarp(static_cast<double>(parts[0] + parts[1]) + (parts[2] + parts[3]));
  if constexpr (kWarps > 1) {
    if (thread % 32 == 0) shared->partial[thread / 32] = sum;
  }
  Threads::Sync();
  if constexpr (kWarps > 1) {
    sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += shared->partial[w];
  }
  // NaN among the logits makes the sum NaN. The same for all threads, as what follows from num_candidates is.
  if (!(max > -INFINITY && max < INFINITY && sum == sum)) {
    if (thread == 0) shared->head[slot] = 0;
    Threads::Sync();
    return;
  }
  int num_candidates = shared->num_candidates;
  if (num_candidates > kCapacity) {
    Threads::Sync();  // all have read the number, which is about to change
    SelectExactly<T, kWarps>(logits, size, k, shared);
    num_candidates = k;
  }
  for (int i = thread; i < num_candidates; i += Threads::kThreads) {
    const float x = shared->logit[i];
    const int id = shared->id[i];
    int rank = 0;
    for (int j = 0; j < num_candidates; ++j) {
      const float other = shared->logit[j];
      rank += other > x || (other == x && shared->id[j] < id);
    }
    if (rank < k) {
      shared->best[slot][rank] = x;
      shared->best_id[rank] = id;
    }
  }
  Threads::Sync();
  if (thread < 32) {
    double head = 0;
    for (int i = thread; i < k; i += 32) head += ExpBelow(shared->best[slot][i], max);
    head = SumOfWarp(head);
    if (thread == 0) {
      shared->head[slot] = head;
      shared->tail[slot] = k == size || sum < head ? 0.0 : sum - head;
    }
  }
  for (int i = thread; i < format.id_bytes; i += Threads::kThreads) {
    out[i] = IdByte(shared->best_id, k, format.id_bits, i);
  }
  Threads::Sync();
}

// kTeams of kWarps a block.
template <typename T, int kWarps, int kVectors, int kTeams>
__global__ void __launch_bounds__(32 * kWarps * kTeams)
    Pack(const T* __restrict__ logits, int64_t stride, int64_t num_rows, int rows_of_team, TopkFormat format,
         const TopkLevels* levels, uint8_t* __restrict__ packed) {
  __shared__ Shared<kWarps> of_teams[kTeams];
  const int team = static_cast<int>(threadIdx.x) / (32 * kWarps);
  Shared<kWarps>& shared = of_teams[team];
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kTeams + team) * rows_of_team;
  const int rows = static_cast<int>(min(static_cast<int64_t>(rows_of_team), num_rows - first));  // none: below 0
  for (int i = 0; i < rows; ++i) {
    PackRow<T, kWarps, kVectors>(logits + (first + i) * stride, format, i, &shared,
                                 packed + (first + i) * format.row_bytes);
  }
  // A lane a row: the one code of the tail, and the chain of those of the gaps.
  const int i = Team<kWarps>::Thread();
  if (i >= rows) return;
  uint8_t* const row = packed + (first + i) * format.row_bytes;
  if (shared.head[i] == 0) {
    for (int j = 0; j < format.row_bytes; ++j) row[j] = kRefusedRow;
    return;
  }
  uint8_t* const codes = row + format.id_bytes;
  codes[0] = TailCode(shared.tail[i], shared.head[i]);
  double carry = 0;
  for (int j = 1; j < format.k; ++j) {
    codes[j] = static_cast<uint8_t>(levels->NextGapCode(shared.best[i][j - 1], shared.best[i][j], &carry));
  }
}

template <typename T, int kWarps, int kVectors, int kTeams>
void LaunchTeams(const T* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
                 uint8_t* packed, CudaStream stream) {
  int device, processors;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  CheckCuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "number of multiprocessors");
  // Rather all processors busy than many rows a team.
  constexpr int kBusy = kWarps == 1 ? 16 : 2;  // teams of a processor
  const int rows_of_team = static_cast<int>(std::clamp<int64_t>(rows / (kBusy * processors), 1, kMostRows));
  const int64_t rows_of_block = static_cast<int64_t>(rows_of_team) * kTeams;
  const auto blocks = static_cast<unsigned>((rows + rows_of_block - 1) / rows_of_block);
  Pack<T, kWarps, kVectors, kTeams><<<blocks, 32 * kWarps * kTeams, 0, stream>>>(logits, stride, rows, rows_of_team,
                                                                                format, levels, packed);
  CheckLaunch("pack_topk");
}

template <typename T>
void Launch(const T* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
            uint8_t* packed, CudaStream stream) {
  if (rows == 0) return;
  const int64_t vectors = (format.num_senones + 3 + 127) / 128;  // of a warp
  const auto launch = vectors <= 1    ? LaunchTeams<T, 1, 1, 2>
                      : vectors <= 3  ? LaunchTeams<T, 1, 3, 2>
                      : vectors <= 8  ? LaunchTeams<T, 1, 8, 2>
                      : vectors <= 16 ? LaunchTeams<T, 1, 16, 2>
                      : vectors <= 26 ? LaunchTeams<T, 1, 26, 2>
                      : vectors <= 36 ? LaunchTeams<T, 1, 36, 2>
                                      : LaunchTeams<T, kLongTeam, 0, 1>;
  launch(logits, stride, rows, format, levels, packed, stream);
}

}  // namespace

void PackTopkCuda(const float* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
                  uint8_t* packed, CudaStream stream) {
  Launch(logits, stride, rows, format, levels, packed, stream);
}

void PackTopkCuda(const Bf16* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
                  uint8_t* packed, CudaStream stream) {
  Launch(logits, stride, rows, format, levels, packed, stream);
}

}  // namespace pyasr
