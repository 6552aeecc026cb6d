// What a row costs a warp, counted in the machine code for 9.0 (S = 3183, float32, k = 20, per row):
//
//   copy of 26 vectors a lane into shared memory 210   maximum of them 210   threshold, 3 or 4 steps 220
//   exponentials, their sum, vectors that reach the threshold 710 (27 each)   candidates 230   sum of the lanes 70
//   ranks of 25 candidates 210   ids 60   codes 35 (a lane a row)   all 1960
//
// So 4 schedulers issue a row in some 490 cycles. An H100 takes 980 to read it at the bandwidth of a copy, which is the
// bound as long as enough rows are under way: a row alone takes some 5000 cycles, most of them waiting for the result
// of the instruction before. A multiprocessor has 12 warps at work, each on a row of its own: a block of 2 takes 37 KB
// of shared memory, and 64 registers a thread. Short rows (S = 284: 1150 instructions, 32 warps) are bound by those
// parts that do not depend on S.
#include <algorithm>

#include "base/cuda_check.h"
#include "posterior/select_topk_cuda.h"
#include "posterior/topk_cuda.h"

namespace pyasr {
namespace {

using namespace topk;

constexpr int kStagedSenones = 8192;  // of rows that a warp takes: of such long ones a multiprocessor holds but 4
constexpr int kLongTeam = 16;         // warps that share a longer row

// The byte of the ids' part (format.h). An id has more than 8 bits, so a byte is of two ids at most.
__device__ uint8_t IdByte(const uint16_t* ids, unsigned k, unsigned id_bits, unsigned byte) {
  const unsigned i = 8 * byte / id_bits, before = 8 * byte % id_bits;
  uint32_t bits = static_cast<uint32_t>(ids[i]) >> before;
  if (i + 1 < k) bits |= static_cast<uint32_t>(ids[i + 1]) << (id_bits - before);
  return static_cast<uint8_t>(bits);
}

// The k best of the candidates, in their order, to `best` and their ids to `out`. By the whole team.
template <int kWarps>
__device__ __forceinline__ void WriteBest(Shared<kWarps>* shared, int num_candidates, const TopkFormat& format,
                                          float* best, uint8_t* out) {
  constexpr int kThreads = Team<kWarps>::kThreads;
  const int thread = Team<kWarps>::Thread(), k = static_cast<int>(format.k);
  for (int i = thread; i < num_candidates; i += kThreads) {
    const uint64_t key = shared->key[i];
    int rank = 0;
#pragma unroll 4
    for (int j = 0; j < num_candidates; ++j) rank += shared->key[j] > key;
    if (rank < k) {
      best[rank] = LogitOf(key);
      shared->best_id[rank] = static_cast<uint16_t>(IdOf(key));
    }
  }
  Team<kWarps>::Sync();
  const int id_bytes = static_cast<int>(format.id_bytes);
#pragma unroll 1
  for (int i = thread; i < id_bytes; i += kThreads) out[i] = IdByte(shared->best_id, k, format.id_bits, i);
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

template <typename T, int kWarps>
__host__ __device__ int StageBytes(const TopkFormat& format) {
  return kWarps == 1 ? Stage<T>::Bytes(static_cast<int>(format.num_senones)) : 0;
}

// What a team has beside Shared: the stage, and `best`.
template <typename T, int kWarps>
__host__ __device__ int TeamBytes(const TopkFormat& format) {
  return StageBytes<T, kWarps>(format) + kMostRows * BestStride(format) * static_cast<int>(sizeof(float));
}

// kTeams of kWarps a block. A team takes consecutive rows, as many as any other. `best` holds the logits of the last
// kMostRows of them until they are coded, a lane a row: each code of a row waits for the one before it.
template <typename T, int kWarps, int kTeams>
__global__ void __launch_bounds__(32 * kWarps * kTeams, 1024 / (32 * kWarps * kTeams))
    Pack(const T* __restrict__ logits, int64_t stride, int64_t num_rows, TopkFormat format,
         const TopkLevels* __restrict__ levels, uint8_t* __restrict__ packed) {
  extern __shared__ __align__(16) char of_block[];
  __shared__ Shared<kWarps> of_teams[kTeams];
  const int team = static_cast<int>(threadIdx.x) / (32 * kWarps), thread = Team<kWarps>::Thread();
  const int k = static_cast<int>(format.k), size = static_cast<int>(format.num_senones);
  Shared<kWarps>& shared = of_teams[team];
  char* const stage = of_block + team * TeamBytes<T, kWarps>(format);
  float* const best = reinterpret_cast<float*>(stage + StageBytes<T, kWarps>(format));
  const int best_stride = BestStride(format);

  const int64_t teams = static_cast<int64_t>(gridDim.x) * kTeams;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kTeams + team;
  const int64_t first = num_rows * index / teams, last = num_rows * (index + 1) / teams;
  if constexpr (kWarps == 1) {
    if (first < last) Stage<T>::Begin(logits + first * stride, size, stage);
  }
  int slot = 0;
  for (int64_t i = first; i < last; ++i) {
    const T* const row = logits + i * stride;
    Found found;
    if constexpr (kWarps == 1) {
      found = FindCandidates(Stage<T>::Finish(row, size, stage), k, &shared);
      // The logits are done with: the next ones come while candidates are sorted.
      if (i + 1 < last) Stage<T>::Begin(row + stride, size, stage);
    } else {
      found = FindCandidates(RowAt<T, kWarps>(row, size), k, &shared);
    }
    if (thread == 0) shared.sum[slot] = found.sum;
    if (found.sum != 0) {
      WriteBest(&shared, found.num_candidates, format, best + slot * best_stride, packed + i * format.row_bytes);
    }
    Team<kWarps>::Sync();
    if (++slot == kMostRows || i + 1 == last) {
      if (thread < slot) {
        WriteCodes(best + thread * best_stride, shared.sum[thread], format, levels,
                   packed + (i + 1 - slot + thread) * format.row_bytes);
      }
      Team<kWarps>::Sync();
      slot = 0;
    }
  }
}

template <typename T, int kWarps, int kTeams>
void LaunchTeams(const T* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
                 uint8_t* packed, CudaStream stream) {
  const auto kernel = Pack<T, kWarps, kTeams>;
  constexpr int kThreads = 32 * kWarps * kTeams;
  const int bytes = kTeams * TeamBytes<T, kWarps>(format);
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
  const int64_t blocks = std::min<int64_t>((rows + kTeams - 1) / kTeams, int64_t{processors} * blocks_of_processor);
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(logits, stride, rows, format, levels, packed);
  CheckLaunch("pack_topk");
}

template <typename T>
void Launch(const T* logits, int64_t stride, int64_t rows, const TopkFormat& format, const TopkLevels* levels,
            uint8_t* packed, CudaStream stream) {
  if (rows == 0) return;
  const auto launch = format.num_senones <= kStagedSenones ? LaunchTeams<T, 1, 2> : LaunchTeams<T, kLongTeam, 1>;
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
