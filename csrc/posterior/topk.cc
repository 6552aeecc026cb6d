#include "posterior/topk.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"
#include "base/thread_pool.h"

namespace pyasr {
namespace {

constexpr int kCodes = 256;
constexpr int64_t kRowsPerBlock = 64;

double TailStep() { return (kTailHigh - kTailLow) / (kCodes - 1); }

const std::array<double, kCodes>& GapValues() {
  static const std::array<double, kCodes> values = [] {
    std::array<double, kCodes> table{};
    for (int code = 0; code < kCodes; ++code) table[code] = kGapScale * std::expm1(kGapStep * code);
    return table;
  }();
  return values;
}

int TailCode(double log_odds) {
  // The lowest code for a tail of 0 (log odds of -infinity).
  const double code = std::round((log_odds - kTailLow) / TailStep());
  return static_cast<int>(std::clamp(code, 0.0, static_cast<double>(kCodes - 1)));
}

// The code whose value is nearest; of two, the lower.
int GapCode(double gap) {
  const auto& values = GapValues();
  const auto above = std::lower_bound(values.begin(), values.end(), gap);
  if (above == values.begin()) return 0;
  if (above == values.end()) return kCodes - 1;
  const int code = static_cast<int>(above - values.begin());
  return gap - values[code - 1] <= values[code] - gap ? code - 1 : code;
}

int IdBits(int64_t num_senones) {
  int bits = 12;
  while ((int64_t{1} << bits) < num_senones) ++bits;
  return bits;
}

void CheckShape(int k, int64_t num_senones) {
  PYASR_CHECK(num_senones >= 1 && num_senones <= kMaxSenones, "number of senones ", num_senones, " is not in 1..",
              kMaxSenones);
  PYASR_CHECK(k >= 1 && k <= kMaxKept && k <= num_senones, "k = ", k, " is not in 1..",
              std::min<int64_t>(kMaxKept, num_senones));
}

class BitWriter {
 public:
  explicit BitWriter(uint8_t* out) : out_(out) {}
  void Put(uint32_t value, int bits) {
    buffer_ |= static_cast<uint64_t>(value) << filled_;
    for (filled_ += bits; filled_ >= 8; filled_ -= 8, buffer_ >>= 8) *out_++ = static_cast<uint8_t>(buffer_);
  }
  void Finish() {
    if (filled_ > 0) *out_ = static_cast<uint8_t>(buffer_);
  }

 private:
  uint8_t* out_;
  uint64_t buffer_ = 0;
  int filled_ = 0;
};

class BitReader {
 public:
  explicit BitReader(const uint8_t* in) : in_(in) {}
  uint32_t Get(int bits) {
    for (; filled_ < bits; filled_ += 8) buffer_ |= static_cast<uint64_t>(*in_++) << filled_;
    const auto value = static_cast<uint32_t>(buffer_ & ((uint64_t{1} << bits) - 1));
    buffer_ >>= bits;
    filled_ -= bits;
    return value;
  }

 private:
  const uint8_t* in_;
  uint64_t buffer_ = 0;
  int filled_ = 0;
};

struct Entry {
  float logit;
  int32_t id;
};

// Better first: the larger logit, of equal ones the lower id.
bool Better(const Entry& a, const Entry& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

void PackRow(const float* logits, int64_t num_senones, int k, int id_bits, int64_t row, std::vector<Entry>& heap,
             uint8_t* out) {
  // The heap holds the k best so far, the worst of them in front; ids ascend, so an equal logit never gets in.
  heap.clear();
  for (int64_t s = 0; s < num_senones; ++s) {
    const float logit = logits[s];
    PYASR_CHECK(!std::isnan(logit) && logit < std::numeric_limits<float>::infinity(), "logit ", s, " of row ", row,
                " is ", logit);
    if (static_cast<int>(heap.size()) < k) {
      heap.push_back({logit, static_cast<int32_t>(s)});
      std::push_heap(heap.begin(), heap.end(), Better);
    } else if (logit > heap.front().logit) {
      std::pop_heap(heap.begin(), heap.end(), Better);
      heap.back() = {logit, static_cast<int32_t>(s)};
      std::push_heap(heap.begin(), heap.end(), Better);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), Better);
  const double best = heap.front().logit;
  PYASR_CHECK(std::isfinite(best), "all logits of row ", row, " are -infinity");

  double total = 0.0, kept = 0.0;
  for (int64_t s = 0; s < num_senones; ++s) total += std::exp(logits[s] - best);
  for (const Entry& entry : heap) kept += std::exp(entry.logit - best);

  BitWriter writer(out);
  for (const Entry& entry : heap) writer.Put(static_cast<uint32_t>(entry.id), id_bits);
  writer.Put(static_cast<uint32_t>(TailCode(std::log(std::max(total - kept, 0.0) / kept))), 8);
  double below = 0.0;  // of the largest, as it will be unpacked
  for (int i = 1; i < k; ++i) {
    const int code = GapCode(best - heap[i].logit - below);
    below += GapValues()[code];
    writer.Put(static_cast<uint32_t>(code), 8);
  }
  writer.Finish();
}

}  // namespace

int64_t PackedRowBytes(int k, int64_t num_senones) {
  CheckShape(k, num_senones);
  return (static_cast<int64_t>(k) * (IdBits(num_senones) + 8) + 7) / 8;
}

void PackTopk(MatrixView<const float> logits, int k, MatrixView<uint8_t> packed, int num_threads) {
  PYASR_CHECK_EQ(packed.cols, PackedRowBytes(k, logits.cols), "bytes of a packed row");
  PYASR_CHECK_EQ(packed.rows, logits.rows, "number of packed rows");
  const int id_bits = IdBits(logits.cols);
  ParallelFor((logits.rows + kRowsPerBlock - 1) / kRowsPerBlock, num_threads, [&](int64_t block) {
    std::vector<Entry> heap;
    heap.reserve(k);
    const int64_t end = std::min(logits.rows, (block + 1) * kRowsPerBlock);
    for (int64_t row = block * kRowsPerBlock; row < end; ++row) {
      PackRow(logits.row(row), logits.cols, k, id_bits, row, heap, packed.row(row));
    }
  });
}

void UnpackTopk(MatrixView<const uint8_t> packed, int64_t num_senones, MatrixView<int32_t> ids,
                MatrixView<float> logp) {
  const int k = static_cast<int>(ids.cols);
  PYASR_CHECK_EQ(packed.cols, PackedRowBytes(k, num_senones), "bytes of a packed row");
  PYASR_CHECK(ids.rows == packed.rows && logp.rows == packed.rows && logp.cols == k, "outputs have another shape");
  const int id_bits = IdBits(num_senones);
  std::array<double, kMaxKept> below;
  for (int64_t row = 0; row < packed.rows; ++row) {
    BitReader reader(packed.row(row));
    for (int i = 0; i < k; ++i) {
      const auto id = static_cast<int32_t>(reader.Get(id_bits));
      PYASR_CHECK(id < num_senones, "id ", i, " of row ", row, " is ", id, ", not below ", num_senones);
      ids.row(row)[i] = id;
    }
    const double log_odds = kTailLow + TailStep() * reader.Get(8);
    double sum = 1.0;
    below[0] = 0.0;
    for (int i = 1; i < k; ++i) {
      below[i] = below[i - 1] + GapValues()[reader.Get(8)];
      sum += std::exp(-below[i]);
    }
    const double largest = -std::log1p(std::exp(log_odds)) - std::log(sum);  // log(1 - tau) - log sum
    for (int i = 0; i < k; ++i) logp.row(row)[i] = static_cast<float>(largest - below[i]);
  }
}

}  // namespace pyasr
