#include <algorithm>

#include "base/cuda_check.h"
#include "posterior/select_topk_cuda.h"
#include "posterior/topk_cuda.h"

namespace pyasr {
namespace {

using namespace topk;

// The byte of the ids' part (format.h).
__device__ uint8_t IdByte(const int* ids, int k, int id_bits, int byte) {
  uint32_t bits = 0;
  for (int i = 8 * byte / id_bits; i < k && i * id_bits < 8 * byte + 8; ++i) {
    const int shift = i * id_bits - 8 * byte;
    bits |= shift >= 0 ? static_cast<uint32_t>(ids[i]) << shift : static_cast<uint32_t>(ids[i]) >> -shift;
  }
  return static_cast<uint8_t>(bits);
}

// One row by the whole team: its ids are written, and what the rest follows from is left in shared for row number
// `slot`.
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
  Pack<T, kWarps, kVectors, kTeams>
      <<<blocks, 32 * kWarps * kTeams, 0, stream>>>(logits, stride, rows, rows_of_team, format, levels, packed);
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
