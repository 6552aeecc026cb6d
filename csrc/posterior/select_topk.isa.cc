// A row is handled in chunks that stay in the first-level cache between two sweeps, the second of which also fetches
// the chunk to come (into the second-level cache, for the first holds no more), so that memory is read once and all the
// time:
//
//   1. the highest logit of each of 128 groups. The k-th highest of these is a threshold that at least k logits reach,
//      and few more do (about 22 for k = 20): the groups of the k best seldom coincide.
//   2. exp(x - maximum), summed, and for stripes with logits above the threshold a bit for each. They are listed
//      without a branch: whether a stripe has one nobody can foresee.
//
// Candidates are then looked up by their bits and sorted by counting, for each, those that come before it: for some
// 20 of them n^2 comparisons without a branch take less time than few with branches that nobody can foresee.
//
// Logits are taken in stripes of 32, whatever the vectors' length, so results are the same bits in every instruction
// set that fuses multiply-adds. (Unfused, as in baseline, everywhere: a row of 3183 takes a tenth longer with AVX2 on
// Zen 3.)
#include "posterior/select_topk.h"

#include "base/simd_math.h"

namespace pyasr {
namespace PYASR_ISA {
namespace {

constexpr int kStripe = 32;
constexpr int kVectors = kStripe / kLanes;
constexpr int kChunk = 4096;         // logits
constexpr int kStripesPerSum = 16;   // added up in one float each lane before these sums are
constexpr int kGroups = 4 * kStripe;
constexpr int kCapacity = 256;       // of candidates
constexpr float kInfinity = __builtin_inff();

PYASR_INLINE F32 LoadLogits(const float* p) { return Load(p); }
PYASR_INLINE F32 LoadLogits(const Bf16* p) { return LoadUpperHalves(&p->bits); }
PYASR_INLINE float ToFloat(float x) { return x; }
PYASR_INLINE float ToFloat(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
PYASR_INLINE void SetToMinusInfinity(float* x) { *x = -kInfinity; }
PYASR_INLINE void SetToMinusInfinity(Bf16* x) { x->bits = 0xFF80; }

// Consecutive logits of a row in whole stripes; the last one is a copy, filled up with -inf, where the row ends within.
template <typename T>
struct Chunk {
  const T* data;
  int num_whole;
  int num_stripes;
  T last[kStripe];

  Chunk(const T* logits, int size)
      : data(logits), num_whole(size / kStripe), num_stripes((size + kStripe - 1) / kStripe) {
    if (num_whole == num_stripes) return;
    for (int i = 0; i < kStripe; ++i) SetToMinusInfinity(&last[i]);
    std::memcpy(last, logits + num_whole * kStripe, (size - num_whole * kStripe) * sizeof(T));
  }
  PYASR_INLINE const T* stripe(int i) const { return i < num_whole ? data + i * kStripe : last; }
};

struct GroupMaxima {
  float max[kGroups];
  float highest;

  // A group is a lane of a quarter of the stripes.
  template <typename T>
  explicit GroupMaxima(const Chunk<T>& chunk) {
    F32 all = Fill(-kInfinity);
    for (int quarter = 0; quarter < 4; ++quarter) {
      const int end = (quarter + 1) * chunk.num_stripes / 4;
      F32 lanes[kVectors];
      for (F32& lane : lanes) lane = Fill(-kInfinity);
      for (int i = quarter * chunk.num_stripes / 4; i < end; ++i) {
        const T* x = chunk.stripe(i);
        for (int v = 0; v < kVectors; ++v) lanes[v] = Max(LoadLogits(x + v * kLanes), lanes[v]);
      }
      for (int v = 0; v < kVectors; ++v) {
        Store(max + quarter * kStripe + v * kLanes, lanes[v]);
        all = Max(lanes[v], all);
      }
    }
    highest = MaxOf(all);
  }

  int NumAbove(float threshold) const {
    int total = 0;
    for (int i = 0; i < kGroups; i += kLanes) total += __builtin_popcount(GreaterBits(Load(max + i), Fill(threshold)));
    return total;
  }

  // `threshold`, or a higher number that at least k logits lie above, and not many more groups.
  float Raised(float threshold, int k) const {
    const int enough = k + k / 4;
    if (NumAbove(threshold) <= enough) return threshold;
    float too_high = highest;
    for (float step = 4; highest - step > threshold; step *= 4) {
      if (NumAbove(highest - step) >= k) {
        threshold = highest - step;
        break;
      }
      too_high = highest - step;
    }
    for (int bisection = 0; bisection < 16; ++bisection) {
      const float middle = 0.5f * threshold + 0.5f * too_high;
      const int above = NumAbove(middle);
      if (above < k) {
        too_high = middle;
      } else {
        threshold = middle;
        if (above <= enough) break;
      }
    }
    return threshold;
  }
};

// Stripes of a chunk, and a bit for each of their logits that is wanted.
struct Stripes {
  int size = 0;
  uint32_t bits[kChunk / kStripe + 1];
  int32_t stripe[kChunk / kStripe + 1];
};

// In the order of their ids where logits are equal.
struct Candidates {
  int size = 0;
  float logit[kCapacity + kLanes];
  int32_t id[kCapacity];
};

// The k best of `all`, or all of them, in descending order; of equal ones the first in `all` stays in front.
void Sort(Candidates* all, int k, Candidates* best) {
  const int n = all->size;
  for (int i = 0; i < kLanes; ++i) all->logit[n + i] = -kInfinity;
  int32_t lane[kLanes];
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  for (int first = 0; first < n; first += kLanes) {
    const F32 x = Load(all->logit + first);
    const int end = first + kLanes < n ? first + kLanes : n;
    I32 rank{};
    for (int j = 0; j < first; ++j) rank -= Fill(all->logit[j]) >= x;
    for (int j = first; j < end; ++j) {
      const F32 other = Fill(all->logit[j]);
      rank -= (other > x) | ((other == x) & (Load(lane) > j - first));
    }
    for (int j = end; j < n; ++j) rank -= Fill(all->logit[j]) > x;
    int32_t ranks[kLanes];
    Store(ranks, rank);
    for (int i = first; i < end; ++i) {
      best->logit[ranks[i - first]] = all->logit[i];
      best->id[ranks[i - first]] = all->id[i];
    }
  }
  best->size = n < k ? n : k;
}

template <typename T>
class RowSelector {
 public:
  RowSelector(const T* row, int64_t size, int k) : row_(row), size_(size), k_(k) {}

  // False when the row cannot be valid.
  bool Select(const T* next, TopkSelection* selection) {
    for (int64_t first = 0; first < size_; first += kChunk) {
      const bool last = size_ - first <= kChunk;
      const int size = static_cast<int>(last ? size_ - first : kChunk);
      if (!Add(static_cast<int32_t>(first), size, last ? next : row_ + first + kChunk)) return false;
    }
    if (!(max_ > -kInfinity)) return false;
    Sort(found_, k_, sorted_);
    FillUp(sorted_);
    selection->sum = sum_;
    WriteBest(selection);
    return true;
  }

 private:
  bool Add(int32_t first_id, int size, const T* next) {
    if (found_->size >= k_) Prune();
    const Chunk<T> chunk(row_ + first_id, size);
    const GroupMaxima maxima(chunk);
    if (maxima.highest == kInfinity) return false;
    if (maxima.highest > max_) {
      sum_ *= ExpOfNegative(Fill(max_ - maxima.highest))[0];
      max_ = maxima.highest;
    }
    threshold_ = maxima.Raised(threshold_, k_);
    Stripes above;
    sum_ += SumOfExp(chunk, next, &above);
    if (sum_ != sum_) return false;  // NaN among the logits
    for (int i = 0; i < above.size; ++i) {
      if (found_->size > kCapacity - kStripe) Prune();
      uint32_t bits = above.bits[i];
      do {  // seldom more than once, so that the branch is foreseen
        Offer(first_id + above.stripe[i] * kStripe + __builtin_ctz(bits));
        bits &= bits - 1;
      } while (bits != 0);
    }
    return true;
  }

  // Also lists the stripes with logits above the threshold.
  float SumOfExp(const Chunk<T>& chunk, const T* next, Stripes* above) const {
    // Not -inf, from which -inf cannot be subtracted.
    const F32 max = Fill(max_ == -kInfinity ? -__FLT_MAX__ : max_), threshold = Fill(threshold_);
    const char* ahead = reinterpret_cast<const char*>(next);
    F32 total[kVectors]{};
    for (int first = 0; first < chunk.num_stripes; first += kStripesPerSum) {
      const int end = first + kStripesPerSum < chunk.num_stripes ? first + kStripesPerSum : chunk.num_stripes;
      F32 part[kVectors]{};
      for (int i = first; i < end; ++i) {
        const T* stripe = chunk.stripe(i);
        for (size_t byte = 0; byte < kStripe * sizeof(T); byte += 64) __builtin_prefetch(ahead + byte, 0, 2);
        ahead += kStripe * sizeof(T);
        F32 x[kVectors];
        for (int v = 0; v < kVectors; ++v) x[v] = LoadLogits(stripe + v * kLanes);
        uint32_t bits = 0;
        for (int v = 0; v < kVectors; ++v) bits |= GreaterBits(x[v], threshold) << (v * kLanes);
        above->bits[above->size] = bits;
        above->stripe[above->size] = i;
        above->size += bits != 0;
        for (F32& logit : x) logit -= max;
        ExpOfNegative(x);
        for (int v = 0; v < kVectors; ++v) part[v] += x[v];
      }
      for (int v = 0; v < kVectors; ++v) total[v] += part[v];
    }
    float lanes[kStripe];
    for (int v = 0; v < kVectors; ++v) Store(lanes + v * kLanes, total[v]);
    for (int half = kStripe / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[half + i];
    }
    return lanes[0];
  }

  PYASR_INLINE void Offer(int32_t id) {
    const float x = ToFloat(row_[id]);
    found_->logit[found_->size] = x;
    found_->id[found_->size] = id;
    found_->size += x > threshold_;  // it may have risen since the bits were set
  }

  void Prune() {
    Sort(found_, k_, sorted_);
    Candidates* const swap = found_;
    found_ = sorted_;
    sorted_ = swap;
    if (found_->size == k_) threshold_ = found_->logit[k_ - 1];
  }

  // Where the row has fewer than k finite logits, the lowest ids of the others, which are all -inf.
  void FillUp(Candidates* best) const {
    for (int32_t id = 0; best->size < k_; ++id) {
      if (ToFloat(row_[id]) > -kInfinity) continue;
      best->logit[best->size] = -kInfinity;
      best->id[best->size++] = id;
    }
  }

  void WriteBest(TopkSelection* selection) const {
    std::memcpy(selection->logit, sorted_->logit, k_ * sizeof(float));
    std::memcpy(selection->id, sorted_->id, k_ * sizeof(int32_t));
    float p[kMostSelected];
    for (int i = 0; i < k_; i += kLanes) Store(p + i, ExpOfNegative(Load(sorted_->logit + i) - Fill(max_)));
    selection->head = 0;
    for (int i = 0; i < k_; ++i) selection->head += p[i];
  }

  const T* row_;
  int64_t size_;
  int k_;
  float max_ = -kInfinity;
  double sum_ = 0;
  float threshold_ = -kInfinity;  // only logits above can be among the k best
  Candidates buffers_[2];
  Candidates* found_ = &buffers_[0];
  Candidates* sorted_ = &buffers_[1];
};

}  // namespace

void SelectTopk(const float* row, int64_t size, int k, const float* next, TopkSelection* selection) {
  selection->valid = RowSelector<float>(row, size, k).Select(next, selection);
}

void SelectTopkBf16(const Bf16* row, int64_t size, int k, const Bf16* next, TopkSelection* selection) {
  selection->valid = RowSelector<Bf16>(row, size, k).Select(next, selection);
}

}  // namespace PYASR_ISA
}  // namespace pyasr
