// Rows of logits, or pieces of long ones, in shared memory: how a warp copies them there and reads them, for .cu files.
#pragma once

#include <cuda_pipeline.h>

#include <cstdint>

#include "posterior/select_topk.h"

namespace pyasr {
namespace topk {

constexpr int kStride = 128;                // logits that a warp takes with a vector of four a lane
constexpr int kLongest = 32 * kStride - 4;  // piece: 32 vectors a lane, wherever it begins

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

}  // namespace topk
}  // namespace pyasr
