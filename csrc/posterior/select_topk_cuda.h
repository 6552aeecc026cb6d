// The parts of pack_topk_cuda.cu that find the k best of a row of logits, for .cu files.
#pragma once

#include <cfloat>
#include <cstdint>

#include "posterior/format.h"
#include "posterior/topk_piece_cuda.h"

namespace pyasr {
namespace topk {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kGroups = 128;    // whose maxima give the threshold: 4 a lane of one warp
constexpr int kCapacity = 256;  // of logits that reach it
constexpr int kMostRows = 32;   // of a warp, one after the other, before their values are coded

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
    Sort(shared->key, count, k, shared->best);
    for (int i = Lane(); i < k; i += 32) shared->key[i] = shared->best[i];
    threshold = fmaxf(threshold, LogitOf(shared->best[k - 1]));
    count = k;
    __syncwarp();
  }
};

}  // namespace topk
}  // namespace pyasr
