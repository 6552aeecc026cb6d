// The pass of encode.h over neighbouring elements.
#include <cfloat>

#include "base/simd.h"
#include "gtc/encode_chunk.h"

namespace pyasr {
namespace PYASR_ISA {
namespace {

constexpr int kGroup = 32;  // elements that one branch looks at: as many as a mask has bits
constexpr int kVectors = kGroup / kLanes;

struct Chunk {
  F32 tau;
  int32_t* words;
  int64_t first_bad = -1;

  // `index` is that of the first of kGroup elements.
  PYASR_INLINE void Group(const float* grad, float* residual, int64_t index) {
    const I32 sign_bit = Bits(Fill(-0.0f));
    F32 sums[kVectors];
    I32 notable = {};
    for (int v = 0; v < kVectors; ++v) {
      const F32 old = Load(residual + v * kLanes);
      const F32 sum = old + Load(grad + v * kLanes);
      const F32 size = FromBits(Bits(sum) & ~sign_bit);
      const I32 finite = size <= Fill(FLT_MAX), sent = (size > tau) & finite;
      const F32 step = FromBits(sent & (Bits(tau) | (Bits(sum) & sign_bit)));
      const F32 kept = sum - step;
      Store(residual + v * kLanes, FromBits((Bits(kept) & finite) | (Bits(old) & ~finite)));
      sums[v] = sum;
      notable |= sent | ~finite;
    }
    if (MaskBits(notable)) Report(sums, index);
  }

  void Report(const F32* sums, int64_t index) {
    uint32_t up = 0, down = 0, bad = 0;
    for (int v = 0; v < kVectors; ++v) {
      const I32 finite = FromBits(Bits(sums[v]) & ~Bits(Fill(-0.0f))) <= Fill(FLT_MAX);
      up |= MaskBits((sums[v] > tau) & finite) << (v * kLanes);
      down |= MaskBits((sums[v] < -tau) & finite) << (v * kLanes);
      bad |= MaskBits(~finite) << (v * kLanes);
    }
    for (uint32_t left = up | down; left; left &= left - 1) {
      const int i = __builtin_ctz(left);
      *words++ = static_cast<int32_t>((index + i) << 1 | ((up >> i) & 1));
    }
    if (bad && first_bad < 0) first_bad = index + __builtin_ctz(bad);
  }
};

}  // namespace

// grad and residual (n,), which start at `index` of the whole; `words` has room for n.
GtcChunk GtcEncodeChunk(const float* grad, float* residual, int64_t n, int64_t index, float tau, int32_t* words) {
  Chunk chunk{Fill(tau), words};
  int64_t i = 0;
  for (; i + kGroup <= n; i += kGroup) chunk.Group(grad + i, residual + i, index + i);
  if (i < n) {  // zeros behind the last element stay below any threshold
    float last_grad[kGroup] = {}, last_residual[kGroup] = {};
    std::memcpy(last_grad, grad + i, (n - i) * sizeof(float));
    std::memcpy(last_residual, residual + i, (n - i) * sizeof(float));
    chunk.Group(last_grad, last_residual, index + i);
    std::memcpy(residual + i, last_residual, (n - i) * sizeof(float));
  }
  return {chunk.words - words, chunk.first_bad};
}

}  // namespace PYASR_ISA
}  // namespace pyasr
