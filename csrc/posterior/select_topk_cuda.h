// The parts of pack_topk_cuda.cu that find the k best of a row of logits, for .cu files.
#pragma once

#include <cuda_pipeline.h>

#include <cfloat>
#include <cstdint>

#include "posterior/format.h"
#include "posterior/select_topk.h"

namespace pyasr {
namespace topk {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kGroups = 128;    // whose maxima give the threshold: 4 a lane of one warp
constexpr int kCapacity = 256;  // of logits that reach it
constexpr int kMostRows = 32;   // of a warp, one after the other, before their values are coded
constexpr int kStride = 128;    // logits that a warp takes with a vector of four a lane
constexpr int kLongest = 32 * kStride - 4;  // piece of a row: 32 vectors a lane, wherever it begins

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

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x) % 32; }

// A row, or a piece of one, in shared memory: vectors of four that begin where a multiple of their size lay, and -inf
// around it.
template <typename T>
struct Piece {
  const T* base;
  int before;  // elements between base and the piece
  int end;     // of the piece, from base

  // visit(x, place) for this lane's vectors.
  template <typename F>
  __device__ __forceinline__ void ForVectors(const F& visit) const {
#pragma unroll 4
    for (int first = 0; first < end; first += kStride) {
      float x[4];
      Load(first + 4 * Lane(), x);
      visit(x, first + 4 * Lane());
    }
  }
  __device__ __forceinline__ void Load(int place, float* x) const { Unpack4(*Vector(base + place), x); }
};

// Where a warp has its piece. It is copied there in whole 16 bytes, with what lies beside it.
template <typename T>
struct Stage {
  static __host__ __device__ int Bytes(int size) {
    return (size + 3 + kStride - 1) / kStride * kStride * static_cast<int>(sizeof(T)) + 16;
  }

  // After all lanes have done with the piece before.
  static __device__ __forceinline__ void Begin(const T* piece, int size, char* stage) {
    const int beside = static_cast<int>(reinterpret_cast<uintptr_t>(piece) % 16), first = 16 * Lane();
    const char* from = reinterpret_cast<const char*>(piece) - beside + first;
    char* to = stage + first;
#pragma unroll 4
    for (int left = beside + size * static_cast<int>(sizeof(T)) - first; left > 0; left -= 16 * 32) {
      __pipeline_memcpy_async(to, from, 16);
      to += 16 * 32, from += 16 * 32;
    }
    __pipeline_commit();
  }

  static __device__ __forceinline__ Piece<T> Finish(const T* piece, int size, char* stage) {
    const int place = static_cast<int>(reinterpret_cast<uintptr_t>(piece) % 16 / sizeof(T));
    const int before = place % 4, end = before + size, filled = (end + kStride - 1) / kStride * kStride;
    T* const base = reinterpret_cast<T*>(stage) + place - before;
    __pipeline_wait_prior(0);
    __syncwarp();  // the other lanes' copies are there, too
    if (Lane() < before) SetToMinusInfinity(base + Lane());
#pragma unroll 1
    for (int i = end + Lane(); i < filled; i += 32) SetToMinusInfinity(base + i);
    __syncwarp();
    return {base, before, end};
  }
};

// Of a warp.
struct Shared {
  uint64_t key[kCapacity];  // of the candidates
  uint64_t best[kMaxTopk];  // of them, descending
  double sum[kMostRows];    // of exp(x - maximum), of the rows that are done; 0: refused
};

__device__ __forceinline__ double SumOfWarp(double x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
}

__device__ __forceinline__ float MaxOf(const float* x) { return fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3])); }

__device__ __forceinline__ float MaxOfWarp(float x) { return OfOrder(__reduce_max_sync(kAll, OrderOf(x))); }

// A number that at least k of the groups' maxima reach, and not many more; -inf where it finds none, as with fewer than
// k finite ones. It does as select_topk.isa.cc, but tries three numbers at a time, for each sum over the warp is waited
// for.
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
    if (!(step < 1e37f && highest - 16 * step > -INFINITY)) return -INFINITY;
    narrow(highest - step, highest - 4 * step, highest - 16 * step);
  }
#pragma unroll 1
  for (int round = 0; round < 8 && count > k + k / 4; ++round) {
    const float middle = 0.5f * low + 0.5f * high;
    narrow(0.5f * middle + 0.5f * high, middle, 0.5f * low + 0.5f * middle);
  }
  return low;
}

// How many logits of a row pass.
template <typename T, typename F>
__device__ int CountIf(const T* row, int size, const F& passes) {
  int count = 0;
#pragma unroll 4
  for (int id = Lane(); id < size; id += 32) count += passes(OrderOf(ToFloat(row[id])), id);
  return __reduce_add_sync(kAll, count);
}

// The place of what each lane adds to `count` things, if it does; kCapacity if not.
__device__ __forceinline__ int PlaceOfNext(bool adds, int* count) {
  const unsigned lanes = __ballot_sync(kAll, adds);
  const int place = *count + __popc(lanes & ((1u << Lane()) - 1));
  *count += __popc(lanes);
  return adds ? place : kCapacity;
}

// Exactly the k best of a row, in any order: for rows without a threshold, and where more than kCapacity logits reach
// it (many equal ones). Reads the row some fifty times.
template <typename T>
__device__ __noinline__ void SelectExactly(const T* row, int size, int k, uint64_t* key) {
  unsigned kth = 0;  // in the order of OrderOf
  for (int bit = 31; bit >= 0; --bit) {
    const unsigned higher = kth | 1u << bit;
    if (CountIf(row, size, [=](unsigned order, int) { return order >= higher; }) >= k) kth = higher;
  }
  const int needed = k - CountIf(row, size, [=](unsigned order, int) { return order > kth; });
  int last = 0;  // id of the last one of those equal to the k-th that is needed
  for (int bit = 16; bit >= 0; --bit) {
    const int higher = last | 1 << bit;
    if (CountIf(row, size, [=](unsigned order, int id) { return order == kth && id < higher; }) < needed) last = higher;
  }
  int count = 0;
  for (int first = 0; first < size; first += 32) {
    const int id = first + Lane();
    const float x = id < size ? ToFloat(row[id]) : -INFINITY;
    const bool wanted = id < size && (OrderOf(x) > kth || (OrderOf(x) == kth && id <= last));
    const int place = PlaceOfNext(wanted, &count);
    if (wanted) key[place] = KeyOf(x, id);
  }
}

// The k best of `count` keys, by counting for each those above it: few are the candidates.
__device__ __forceinline__ void Sort(const uint64_t* keys, int count, int k, uint64_t* best) {
  for (int i = Lane(); i < count; i += 32) {
    const uint64_t key = keys[i];
    int rank = 0;
#pragma unroll 4
    for (int j = 0; j < count; ++j) rank += keys[j] > key;
    if (rank < k) best[rank] = key;
  }
  __syncwarp();
}

// What a warp knows of the pieces of a row that it has seen; the same in all lanes, but `sum`.
struct Selection {
  float max = -INFINITY;
  float threshold = -INFINITY;  // that at least k logits reach
  double sum = 0;               // of exp(x - max), this lane's part
  int count = 0;                // of candidates: all that reached the threshold as it was. Above kCapacity: unknown

  // first_id: of the piece. Keys of candidates go to `key`.
  template <typename T>
  __device__ __forceinline__ void Add(const Piece<T>& piece, int first_id, int k, uint64_t* key) {
    float groups[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    piece.ForVectors([&](const float* x, int) {
#pragma unroll
      for (int c = 0; c < 4; ++c) groups[c] = fmaxf(groups[c], x[c]);
    });
    const float highest = MaxOfWarp(MaxOf(groups));
    if (highest > max) {
      sum *= ExpBelow(max, highest);
      max = highest;
    }
    threshold = fmaxf(threshold, Threshold(groups, highest, k));
    if (threshold == -INFINITY) count = kCapacity + 1;

    const float from = fmaxf(max, -FLT_MAX);  // -inf cannot be subtracted from -inf
    const float least = threshold == -INFINITY ? INFINITY : threshold;
    float parts[4] = {0, 0, 0, 0};
    unsigned reached = 0;  // bit b: by the vector at newest - b * kStride
    int newest = 0;
    piece.ForVectors([&](const float* x, int place) {
#pragma unroll
      for (int c = 0; c < 4; ++c) parts[c] += ExpBelow(x[c], from);
      reached = 2 * reached + (MaxOf(x) >= least);
      newest = place;
    });
    sum += static_cast<double>(parts[0] + parts[1]) + (parts[2] + parts[3]);
    AddCandidates(piece, reached, newest, first_id, key);
  }

  // One logit of each lane at a time, for few lanes hold more than one or two.
  template <typename T>
  __device__ __forceinline__ void AddCandidates(const Piece<T>& piece, unsigned reached, int newest, int first_id,
                                                uint64_t* key) {
    int vector = 0;
    unsigned components = 0;  // of it, still to be added
    while (__any_sync(kAll, (reached | components) != 0)) {
      if (components == 0 && reached != 0) {
        vector = newest - (__ffs(reached) - 1) * kStride;
        reached &= reached - 1;
        float x[4];
        piece.Load(vector, x);
#pragma unroll
        for (int c = 0; c < 4; ++c) components |= (x[c] >= threshold) << c;
      }
      const int of_logit = vector + __ffs(components) - 1, place = PlaceOfNext(components != 0, &count);
      if (place < kCapacity) key[place] = KeyOf(ToFloat(piece.base[of_logit]), first_id + of_logit - piece.before);
      components &= components - 1;
    }
  }

  // Before more pieces come: leaves no more than the k best of many candidates.
  __device__ __forceinline__ void Prune(int k, Shared* shared) {
    if (count <= kCapacity / 2 || count > kCapacity) return;
    __syncwarp();
    Sort(shared->key, count, k, shared->best);
    for (int i = Lane(); i < k; i += 32) shared->key[i] = shared->best[i];
    threshold = fmaxf(threshold, LogitOf(shared->best[k - 1]));
    count = k;
    __syncwarp();
  }
};

}  // namespace topk
}  // namespace pyasr
