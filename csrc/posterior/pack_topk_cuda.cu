#include <algorithm>

#include "base/cuda_check.h"
#include "posterior/topk_cuda.h"

namespace pyasr {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kGroups = 128;       // the k-th highest of their maxima is the threshold
constexpr int kCapacity = 256;     // of logits that reach it
constexpr int kMostRows = 32;      // a block
constexpr int kVectorsInRegisters = 9;
constexpr int kShortRow = 4 * 128 * kVectorsInRegisters;

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

// This thread's logits of a row. Vectors of four are read from where a multiple of their size lies, so that the first
// and the last may hold what is not the row's: it lies beside it in the same 16 bytes, and counts as -inf.
template <typename T, int kThreads, int kVectors>
struct Row {
  static constexpr bool kInRegisters = kVectors > 0;
  const T* base;
  int before;  // elements between base and the row
  int size;
  float x[kInRegisters ? 4 * kVectors : 1];

  __device__ void Start(const T* row, int row_size) {
    before = static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(T) % 4);
    base = row - before;
    size = row_size;
  }

  __device__ __forceinline__ bool Has(int id) const { return static_cast<unsigned>(id) < static_cast<unsigned>(size); }

  __device__ __forceinline__ void LoadVector(int place, float* out) const {
    const int end = before + size;
    if (place < end) Load4(base + place, out);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (place + c < before || place + c >= end) out[c] = -INFINITY;
    }
  }

  // visit(x) for all logits, and for some -inf that are none, from memory.
  template <typename F>
  __device__ __forceinline__ void Load(const F& visit) {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) LoadVector((v * kThreads + static_cast<int>(threadIdx.x)) * 4, x + 4 * v);
#pragma unroll
      for (int i = 0; i < 4 * kVectors; ++i) visit(x[i]);
    } else {
      ForAll([&](float logit, int) { visit(logit); });
    }
  }

  // visit(x, id), likewise; Has(id) tells which are none. After Load.
  template <typename F>
  __device__ __forceinline__ void ForAll(const F& visit) const {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int i = 0; i < 4 * kVectors; ++i) {
        visit(x[i], (i / 4 * kThreads + static_cast<int>(threadIdx.x)) * 4 + i % 4 - before);
      }
    } else {
      for (int place = static_cast<int>(threadIdx.x) * 4; place < before + size; place += 4 * kThreads) {
        float some[4];
        LoadVector(place, some);
#pragma unroll
        for (int c = 0; c < 4; ++c) visit(some[c], place + c - before);
      }
    }
  }
};

struct Shared {
  float group[kGroups];
  float threshold, max;
  int num_candidates;
  float logit[kCapacity];
  int id[kCapacity];
  double partial[32];
  int counts[32];
  int best_id[kMaxTopk];
  float best[kMostRows][kMaxTopk];
  bool valid[kMostRows];
};

// How many logits of the block's row pass. For all threads, together.
template <typename R, typename F>
__device__ int CountIf(const R& row, Shared* shared, int num_warps, const F& passes) {
  int count = 0;
  row.ForAll([&](float x, int id) { count += row.Has(id) && passes(x, id); });
  count = __reduce_add_sync(kAll, count);
  if (threadIdx.x % 32 == 0) shared->counts[threadIdx.x / 32] = count;
  __syncthreads();
  int total = 0;
  for (int w = 0; w < num_warps; ++w) total += shared->counts[w];
  __syncthreads();
  return total;
}

// Exactly the k best become the candidates: for rows where more than kCapacity reach the threshold (many equal ones).
// Reads the row from memory, some fifty times: logits in registers that are handed over would lie in memory always.
template <typename T, int kThreads>
__device__ __noinline__ void SelectExactly(const T* logits, int size, int k, Shared* shared) {
  constexpr int num_warps = kThreads / 32;
  Row<T, kThreads, 0> row;
  row.Start(logits, size);
  unsigned kth = 0;  // in the order of OrderOf
  for (int bit = 31; bit >= 0; --bit) {
    const unsigned higher = kth | 1u << bit;
    if (CountIf(row, shared, num_warps, [=](float x, int) { return OrderOf(x) >= higher; }) >= k) kth = higher;
  }
  const int needed = k - CountIf(row, shared, num_warps, [=](float x, int) { return OrderOf(x) > kth; });
  int last = 0;  // id of the last one of those equal to the k-th that is needed
  for (int bit = 16; bit >= 0; --bit) {
    const int higher = last | 1 << bit;
    const auto before = [=](float x, int id) { return OrderOf(x) == kth && id < higher; };
    if (CountIf(row, shared, num_warps, before) < needed) last = higher;
  }
  if (threadIdx.x == 0) shared->num_candidates = 0;
  __syncthreads();
  row.ForAll([&](float x, int id) {
    if (!row.Has(id) || !(OrderOf(x) > kth || (OrderOf(x) == kth && id <= last))) return;
    const int place = atomicAdd(&shared->num_candidates, 1);
    shared->logit[place] = x;
    shared->id[place] = id;
  });
  __syncthreads();
}

__device__ __forceinline__ double SumOfWarp(double x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
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

// One row by the whole block: ids and tail are written, the logits whose gaps are to be coded left in shared->best[slot].
template <typename T, int kThreads, int kVectors>
__device__ __forceinline__ void PackRow(const T* logits, const TopkFormat& format, int slot, Shared* shared,
                                        uint8_t* out) {
  constexpr int kLanesAGroup = kThreads / kGroups, kWarps = kThreads / 32;
  const int thread = threadIdx.x, k = static_cast<int>(format.k);
  Row<T, kThreads, kVectors> row;
  row.Start(logits, static_cast<int>(format.num_senones));

  bool bad = false;
  float highest = -INFINITY;
  row.Load([&](float x) {
    bad |= !(x < INFINITY);
    highest = fmaxf(highest, x);
  });
#pragma unroll
  for (int distance = 1; distance < kLanesAGroup; distance *= 2) {
    highest = fmaxf(highest, __shfl_xor_sync(kAll, highest, distance));
  }
  if (thread % kLanesAGroup == 0) shared->group[thread / kLanesAGroup] = highest;
  if (thread == 0) shared->num_candidates = 0;
  const bool any_bad = __syncthreads_or(bad);
  if (thread < kGroups) {
    const float mine = shared->group[thread];
    int rank = 0;
#pragma unroll 8
    for (int g = 0; g < kGroups; ++g) rank += shared->group[g] > mine || (shared->group[g] == mine && g < thread);
    if (rank == 0) shared->max = mine;
    if (rank == k - 1) shared->threshold = mine;
  }
  __syncthreads();
  const float max = shared->max, threshold = shared->threshold;
  const bool valid = !any_bad && max > -INFINITY;
  if (thread == 0) shared->valid[slot] = valid;
  if (!valid) {  // the same for all threads
    for (int i = thread; i < format.row_bytes; i += kThreads) out[i] = kRefusedRow;
    return;
  }

  float part = 0;
  row.ForAll([&](float x, int id) {
    part += ExpBelow(x, max);
    if (x >= threshold && row.Has(id)) {
      const int place = atomicAdd(&shared->num_candidates, 1);
      if (place < kCapacity) {
        shared->logit[place] = x;
        shared->id[place] = id;
      }
    }
  });
  const double sum_of_warp = SumOfWarp(part);
  if (thread % 32 == 0) shared->partial[thread / 32] = sum_of_warp;
  __syncthreads();
  int size = shared->num_candidates;
  if (size > kCapacity) {  // the same for all threads
    __syncthreads();       // all have read the number, which is about to change
    SelectExactly<T, kThreads>(logits, row.size, k, shared);
    size = k;
  }
  for (int i = thread; i < size; i += kThreads) {
    const float x = shared->logit[i];
    const int id = shared->id[i];
    int rank = 0;
    for (int j = 0; j < size; ++j) {
      const float other = shared->logit[j];
      rank += other > x || (other == x && shared->id[j] < id);
    }
    if (rank < k) {
      shared->best[slot][rank] = x;
      shared->best_id[rank] = id;
    }
  }
  __syncthreads();
  if (thread < 32) {
    double head = 0, sum = 0;
    for (int i = thread; i < k; i += 32) head += ExpBelow(shared->best[slot][i], max);
    head = SumOfWarp(head);
    if (thread == 0) {
      for (int w = 0; w < kWarps; ++w) sum += shared->partial[w];
      const double tail = k == format.num_senones || sum < head ? 0.0 : sum - head;
      out[format.id_bytes] = TailCode(tail, head);
    }
  }
  for (int i = thread; i < format.id_bytes; i += kThreads) {
    out[i] = IdByte(shared->best_id, k, format.id_bits, i);
  }
}

template <typename T, int kThreads, int kVectors>
__global__ void __launch_bounds__(kThreads, kThreads == 128 ? 6 : 2)
    Pack(const T* __restrict__ logits, int64_t stride, int64_t num_rows, int rows_a_block, TopkFormat format,
         const TopkLevels* levels, uint8_t* __restrict__ packed) {
  __shared__ Shared shared;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * rows_a_block;
  const int rows = static_cast<int>(min(static_cast<int64_t>(rows_a_block), num_rows - first));
  for (int i = 0; i < rows; ++i) {
    PackRow<T, kThreads, kVectors>(logits + (first + i) * stride, format, i, &shared,
                                   packed + (first + i) * format.row_bytes);
  }
  __syncthreads();
  const int i = threadIdx.x;
  if (i >= rows || !shared.valid[i]) return;
  uint8_t* const gaps = packed + (first + i) * format.row_bytes + format.id_bytes + 1;
  double carry = 0;
  for (int j = 1; j < format.k; ++j) {
    gaps[j - 1] = static_cast<uint8_t>(levels->NextGapCode(shared.best[i][j - 1], shared.best[i][j], &carry));
  }
}

template <typename T>
void Launch(const T* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
            uint8_t* packed, CudaStream stream) {
  if (rows == 0) return;
  int device, processors;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  CheckCuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "number of multiprocessors");
  // Rather all processors busy than many rows a block.
  const int rows_a_block = static_cast<int>(std::clamp<int64_t>(rows / (8 * processors), 1, kMostRows));
  const auto blocks = static_cast<unsigned>((rows + rows_a_block - 1) / rows_a_block);
  const int64_t places = format.num_senones + 3;
  if (places <= 4 * 128 * 2) {
    Pack<T, 128, 2><<<blocks, 128, 0, stream>>>(logits, stride, rows, rows_a_block, format, levels, packed);
  } else if (places <= kShortRow) {
    Pack<T, 128, kVectorsInRegisters>
        <<<blocks, 128, 0, stream>>>(logits, stride, rows, rows_a_block, format, levels, packed);
  } else {
    Pack<T, 512, 0><<<blocks, 512, 0, stream>>>(logits, stride, rows, rows_a_block, format, levels, packed);
  }
  CheckLaunch("pack_topk");
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
