#include "base/cuda_check.h"
#include "posterior/topk_cuda.h"

namespace pyasr {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kWarps = 8;

// Id number i of a row (format.h); the byte behind its last one is not read.
__device__ int ReadId(const uint8_t* row, int id_bits, int i) {
  const int first = i * id_bits, last_byte = (first + id_bits - 1) / 8;
  uint32_t bits = 0;
  for (int byte = first / 8; byte <= last_byte; ++byte) {
    bits |= static_cast<uint32_t>(row[byte]) << (8 * (byte - first / 8));
  }
  return static_cast<int>(bits >> (first % 8) & ((1u << id_bits) - 1));
}

// A warp a row; lane l has numbers l and l + 32.
__global__ void __launch_bounds__(32 * kWarps)
    Unpack(const uint8_t* __restrict__ packed, int64_t stride, int64_t num_rows, TopkFormat format,
           const TopkLevels* levels, int32_t* __restrict__ ids, float* __restrict__ logp) {
  const int lane = threadIdx.x % 32, k = static_cast<int>(format.k), id_bits = format.id_bits;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= num_rows) return;  // the whole warp
  const uint8_t* const in = packed + row * stride;
  int id[2];
  bool bad = false;
  for (int half = 0; half < 2; ++half) {
    const int i = lane + 32 * half;
    id[half] = i < k ? ReadId(in, id_bits, i) : -1;
    bad |= id[half] >= format.num_senones;
  }
  const int padding = static_cast<int>(8 * format.id_bytes) - k * id_bits;
  bad |= padding > 0 && in[format.id_bytes - 1] >> (8 - padding) != 0;
  for (int j = 0; j < k; ++j) {
    const int other = __shfl_sync(kAll, j < 32 ? id[0] : id[1], j % 32);
    bad |= (lane > j && id[0] == other) || (lane + 32 > j && id[1] == other);
  }
  bad = __any_sync(kAll, bad);

  // The sums are short, and in their order the same as on the CPU: each lane forms them all.
  const uint8_t* const codes = in + format.id_bytes;
  double below = 0, ratio = 1, others = 0, mine[2] = {0, 0};
  for (int i = 1; i < k; ++i) {
    const int code = codes[i];
    below += levels->gap[code];
    ratio *= levels->ratio[code];
    others += ratio;
    if (i == lane) mine[0] = below;
    if (i == lane + 32) mine[1] = below;
  }
  const double highest = levels->LogHighest(codes[0], others);
  for (int half = 0; half < 2; ++half) {
    const int i = lane + 32 * half;
    if (i >= k) break;
    ids[row * k + i] = bad ? -1 : id[half];
    logp[row * k + i] = bad ? NAN : static_cast<float>(highest - mine[half]);
  }
}

}  // namespace

void UnpackTopkCuda(const uint8_t* packed, int64_t stride, int64_t rows, const TopkFormat& format,
                    const TopkLevels* levels, int32_t* ids, float* logp, CudaStream stream) {
  if (rows == 0) return;
  const auto blocks = static_cast<unsigned>((rows + kWarps - 1) / kWarps);
  Unpack<<<blocks, 32 * kWarps, 0, stream>>>(packed, stride, rows, format, levels, ids, logp);
  CheckLaunch("unpack_topk");
}

}  // namespace pyasr
