// What a row costs a warp, counted in the machine code for 9.0 (S = 3183, float32, k = 20, per row):
//
//   copy of 26 vectors a lane into shared memory 220   maximum of them 210   threshold, 3 or 4 steps 220
//   exponentials, their sum, vectors that reach the threshold 720 (27 each)   candidates 240   sum of the lanes 60
//   ranks of 25 candidates 210   ids 70   codes 35 (a lane a row)   all 2000
//
// So 4 schedulers issue a row in some 500 cycles. An H100 takes 980 to read it at the bandwidth of a copy, which is the
// bound as long as enough rows are under way: a row alone takes thousands of cycles, most of them waiting for the result
// of the instruction before. A multiprocessor has 12 warps at work, each on a row of its own: a block of 2 takes 37 KB
// of shared memory, and 64 registers a thread. That makes 1250 cycles a row, 78 % of the copy. Short rows (S = 284: 1150
// instructions, 32 warps) are bound by those parts that do not depend on S; a long one takes some 1700 instructions for
// each piece of 4000.
#include <algorithm>

#include "base/cuda_check.h"
#include "posterior/select_topk_cuda.h"
#include "posterior/topk_cuda.h"
#include "posterior/topk_piece_cuda.h"

namespace pyasr {
namespace {

using namespace topk;

constexpr int kWarps = 2;  // of a block

// The byte of the ids' part (format.h). An id has more than 8 bits, so a byte is of two ids at most.
__device__ uint8_t IdByte(const uint64_t* best, unsigned k, unsigned id_bits, unsigned byte) {
  const unsigned i = 8 * byte / id_bits, before = 8 * byte % id_bits;
  uint32_t bits = static_cast<uint32_t>(IdOf(best[i])) >> before;
  if (i + 1 < k) bits |= static_cast<uint32_t>(IdOf(best[i + 1])) << (id_bits - before);
  return static_cast<uint8_t>(bits);
}

// The codes of a row's tail and gaps, by one thread.
__device__ __forceinline__ void WriteCodes(const float* best, double sum, const TopkFormat& format,
                                           const TopkLevels* levels, uint8_t* row) {
  const int k = static_cast<int>(format.k);
  if (sum == 0) {
    for (int i = 0; i < format.row_bytes; ++i) row[i] = kRefusedRow;
    return;
  }
  uint8_t* const codes = row + format.id_bytes;
  double head = 1, carry = 0;
  for (int i = 1; i < k; ++i) {
    head += ExpBelow(best[i], best[0]);
    codes[i] = static_cast<uint8_t>(levels->NextGapCode(best[i - 1], best[i], &carry));
  }
  codes[0] = TailCode(k == format.num_senones || sum < head ? 0.0 : sum - head, head);
}

// Of rows that are done: odd, so that no two of them begin in the same bank.
__host__ __device__ int BestStride(const TopkFormat& format) { return static_cast<int>(format.k) | 1; }

// Rows come in pieces of equal length.
__host__ __device__ int PieceSize(const TopkFormat& format) {
  const int size = static_cast<int>(format.num_senones), pieces = (size + kLongest - 1) / kLongest;
  return ((size + pieces - 1) / pieces + 3) / 4 * 4;  // whole vectors, so that all begin as the row does
}

// What a warp has beside Shared: the stage, and the logits of the k best of kMostRows rows.
template <typename T>
__host__ __device__ int WarpBytes(const TopkFormat& format) {
  static_assert(kMostRows % 4 == 0);  // the next warp's stage begins where a multiple of 16 bytes lies
  return Stage<T>::Bytes(PieceSize(format)) + kMostRows * BestStride(format) * static_cast<int>(sizeof(float));
}

// A warp takes consecutive rows, as many as any other. The logits of the last kMostRows of them wait until they are
// coded, a lane a row: each code of a row waits for the one before it.
template <typename T>
__global__ void __launch_bounds__(32 * kWarps, 1024 / (32 * kWarps))
    Pack(const T* __restrict__ logits, int64_t stride, int64_t num_rows, TopkFormat format,
         const TopkLevels* __restrict__ levels, uint8_t* __restrict__ packed) {
  extern __shared__ __align__(16) char of_block[];
  __shared__ Shared of_warps[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = Lane();
  const int k = static_cast<int>(format.k), size = static_cast<int>(format.num_senones);
  const int piece_size = PieceSize(format), best_stride = BestStride(format);
  Shared& shared = of_warps[warp];
  char* const stage = of_block + warp * WarpBytes<T>(format);
  float* const best = reinterpret_cast<float*>(stage + Stage<T>::Bytes(piece_size));

  const int64_t warps = static_cast<int64_t>(gridDim.x) * kWarps;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  const int64_t first = num_rows * index / warps, last = num_rows * (index + 1) / warps;
  if (first < last) Stage<T>::Begin(logits + first * stride, min(piece_size, size), stage);
  int slot = 0;
  for (int64_t i = first; i < last; ++i) {
    const T* const row = logits + i * stride;
    Selection selection;
    for (int at = 0; at < size; at += piece_size) {
      selection.Add(Stage<T>::Finish(row + at, min(piece_size, size - at), stage), at, k, shared.key);
      __syncwarp();
      // The logits are done with: the next ones come while candidates are sorted.
      const int next = at + piece_size;
      if (next < size) {
        Stage<T>::Begin(row + next, min(piece_size, size - next), stage);
        selection.Prune(k, &shared);
      } else if (i + 1 < last) {
        Stage<T>::Begin(row + stride, min(piece_size, size), stage);
      }
    }
    double sum = SumOfWarp(selection.sum);
    // NaN among the logits makes the sum NaN.
    if (!(selection.max > -INFINITY && selection.max < INFINITY && sum == sum)) sum = 0;
    if (sum != 0) {
      const bool exactly = selection.count < k || selection.count > kCapacity;
      if (exactly) SelectExactly(row, size, k, shared.key);
      __syncwarp();
      Sort(shared.key, exactly ? k : selection.count, k, shared.best);
      for (int j = lane; j < k; j += 32) best[slot * best_stride + j] = LogitOf(shared.best[j]);
      uint8_t* const out = packed + i * format.row_bytes;
      const int id_bytes = static_cast<int>(format.id_bytes);
#pragma unroll 1
      for (int j = lane; j < id_bytes; j += 32) out[j] = IdByte(shared.best, k, format.id_bits, j);
    }
    if (lane == 0) shared.sum[slot] = sum;
    __syncwarp();
    if (++slot == kMostRows || i + 1 == last) {
      if (lane < slot) {
        WriteCodes(best + lane * best_stride, shared.sum[lane], format, levels,
                   packed + (i + 1 - slot + lane) * format.row_bytes);
      }
      __syncwarp();
      slot = 0;
    }
  }
}

template <typename T>
void Launch(const T* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
            uint8_t* packed, CudaStream stream) {
  if (rows == 0) return;
  const auto kernel = Pack<T>;
  constexpr int kThreads = 32 * kWarps;
  const int bytes = kWarps * WarpBytes<T>(format);
  int device, processors, blocks_of_processor;
  CheckCuda(cudaGetDevice(&device), "cudaGetDevice");
  CheckCuda(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "number of multiprocessors");
  CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "pack_topk's memory");
  CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared),
            "pack_topk's memory");
  CheckCuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_of_processor, kernel, kThreads, bytes),
            "pack_topk's blocks");
  // All at once, and none after them: a second wave of blocks would leave most processors idle at its end.
  const int64_t blocks = std::min<int64_t>((rows + kWarps - 1) / kWarps, int64_t{processors} * blocks_of_processor);
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(logits, stride, rows, format, levels, packed);
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
