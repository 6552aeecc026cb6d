#include "posterior/pack_topk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/thread_pool.h"

namespace pyasr {
namespace {

constexpr int64_t kBlock = 128;  // logits handled together: a power of two
constexpr int64_t kRowsPerItem = 32;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline float ToFloat(float x) { return x; }
inline float ToFloat(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// exp(x) for x <= 0 within 2e-7 of its value, without branches: 2^n times a polynomial in the rest, |rest| <= log(2) / 2
// (Taylor's, to the sixth power: its error is below half a unit in the last place). Below -87 it stays at 1.6e-38.
inline float ExpOfNegative(float x) {
  x = x > -87.0f ? x : -87.0f;
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the low bits now hold round(x / log 2)
  const float n = shifted - 12582912.0f;
  const float rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // log 2 in two parts, the first exact times n
  float p = 1.0f / 720;
  p = p * rest + 1.0f / 120;
  p = p * rest + 1.0f / 24;
  p = p * rest + 1.0f / 6;
  p = p * rest + 0.5f;
  p = p * rest + 1.0f;
  p = p * rest + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

// The k best so far, in descending order; of equal ones the earlier, which has the lower id, stays in front.
struct Best {
  int64_t k;
  int64_t size = 0;
  float logit[kMaxTopk];
  int32_t id[kMaxTopk];

  float Threshold() const { return size < k ? -kInfinity : logit[k - 1]; }
  void Offer(float x, int32_t senone_id) {
    if (size == k && !(x > logit[k - 1])) return;
    int64_t i = size < k ? size++ : k - 1;
    for (; i > 0 && x > logit[i - 1]; --i) {
      logit[i] = logit[i - 1];
      id[i] = id[i - 1];
    }
    logit[i] = x;
    id[i] = senone_id;
  }
};

// Where maximum and sum of exp(x - maximum) over the logits seen so far are kept.
struct Normaliser {
  float max = -kInfinity;
  double sum = 0;

  void Add(const float* x, float max_of_x) {  // kBlock logits
    if (max_of_x > max) {
      sum *= std::exp(static_cast<double>(max) - max_of_x);
      max = max_of_x;
    }
    if (max == -kInfinity) return;
    float p[kBlock];
    for (int64_t i = 0; i < kBlock; ++i) p[i] = ExpOfNegative(x[i] - max);
    // Halves added to halves: vectorises, and rounds less than one running sum.
    for (int64_t half = kBlock / 2; half > 0; half /= 2) {
      for (int64_t i = 0; i < half; ++i) p[i] += p[half + i];
    }
    sum += p[0];
  }
};

float MaxOfBlock(const float* x) {
  float max[kBlock / 2];
  for (int64_t i = 0; i < kBlock / 2; ++i) max[i] = x[i] > x[kBlock / 2 + i] ? x[i] : x[kBlock / 2 + i];
  for (int64_t half = kBlock / 4; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) max[i] = max[i] > max[half + i] ? max[i] : max[half + i];
  }
  return max[0];
}

void CheckBlock(const float* x, int64_t size, int64_t first_id, int64_t row) {
  int32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) bad += !(x[i] < kInfinity);
  if (bad == 0) return;
  for (int64_t i = 0; i < size; ++i) {
    PYASR_CHECK(x[i] < kInfinity, "row ", row, ": logit of senone ", first_id + i, " is ", x[i]);
  }
}

// Steps of sqrt(tail) against sqrt(head), see format.h.
uint8_t TailCode(double tail, double head) {
  const double a = std::sqrt(tail), b = std::sqrt(head);
  return static_cast<uint8_t>(std::min(255.0, std::floor(256 * (a / (a + b)))));
}

void WriteIds(const Best& best, const TopkFormat& format, uint8_t* out) {
  uint32_t pending = 0;
  int bits = 0;
  for (int64_t i = 0; i < format.k; ++i) {
    pending |= static_cast<uint32_t>(best.id[i]) << bits;
    for (bits += format.id_bits; bits >= 8; bits -= 8) {
      *out++ = static_cast<uint8_t>(pending);
      pending >>= 8;
    }
  }
  if (bits > 0) *out = static_cast<uint8_t>(pending);
}

void WriteGaps(const Best& best, int64_t k, uint8_t* out) {
  const TopkLevels& levels = Levels();
  double carry = 0;  // exact minus stored: what the next gap makes good
  for (int64_t i = 1; i < k; ++i) {
    // Both -inf: their difference is NaN, and they are equal.
    const double step =
        best.logit[i] == best.logit[i - 1] ? 0.0 : static_cast<double>(best.logit[i - 1]) - best.logit[i];
    const double gap = step + carry;
    // The nearest level; of two equally near the lower.
    const int64_t d =
        std::lower_bound(levels.gap_middle.begin(), levels.gap_middle.end(), gap) - levels.gap_middle.begin();
    carry = d == kLastGap ? 0.0 : gap - levels.gap[d];
    *out++ = static_cast<uint8_t>(d);
  }
}

template <typename T>
void PackRow(const T* logits, const TopkFormat& format, int64_t row, uint8_t* out) {
  Best best{format.k, 0, {}, {}};
  Normaliser normaliser;
  float x[kBlock];
  for (int64_t first = 0; first < format.num_senones; first += kBlock) {
    const int64_t size = std::min(kBlock, format.num_senones - first);
    for (int64_t i = 0; i < size; ++i) x[i] = ToFloat(logits[first + i]);
    CheckBlock(x, size, first, row);
    std::fill(x + size, x + kBlock, -kInfinity);
    const float max = MaxOfBlock(x);
    normaliser.Add(x, max);
    if (best.size < format.k || max > best.Threshold()) {
      for (int64_t i = 0; i < size; ++i) best.Offer(x[i], static_cast<int32_t>(first + i));
    }
  }
  PYASR_CHECK(normaliser.max > -kInfinity, "row ", row, ": all ", format.num_senones, " logits are -inf");
  double head = 0;
  for (int64_t i = 0; i < format.k; ++i) head += std::exp(static_cast<double>(best.logit[i]) - normaliser.max);
  const double tail = format.k == format.num_senones ? 0.0 : std::max(0.0, normaliser.sum - head);
  WriteIds(best, format, out);
  out[format.id_bytes] = TailCode(tail, head);
  WriteGaps(best, format.k, out + format.id_bytes + 1);
}

template <typename T>
void Pack(MatrixView<const T> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads) {
  PYASR_CHECK_EQ(logits.cols, format.num_senones, "columns of logits against senones");
  PYASR_CHECK_EQ(packed.rows, logits.rows, "rows of packed against rows of logits");
  PYASR_CHECK_EQ(packed.cols, format.row_bytes, "columns of packed against bytes of a row");
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  ParallelFor((logits.rows + kRowsPerItem - 1) / kRowsPerItem, num_threads, [&](int64_t item) {
    const int64_t end = std::min(logits.rows, (item + 1) * kRowsPerItem);
    for (int64_t row = item * kRowsPerItem; row < end; ++row) {
      PackRow(logits.row(row), format, row, packed.row(row));
    }
  });
}

}  // namespace

void PackTopk(MatrixView<const float> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads) {
  Pack(logits, format, packed, num_threads);
}

void PackTopk(MatrixView<const Bf16> logits, const TopkFormat& format, MatrixView<uint8_t> packed, int num_threads) {
  Pack(logits, format, packed, num_threads);
}

}  // namespace pyasr
