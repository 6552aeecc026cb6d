#include "hmm/accumulate_stats.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/parallel_for.h"

namespace pyasr {
namespace {

// x - x is 0, or NaN where x is NaN or infinite: a sum without branches, which the compiler vectorises.
void CheckFinite(const float* x, int64_t begin, int64_t end, int64_t frame) {
  int64_t bad = 0;
  for (int64_t d = begin; d < end; ++d) bad += !(x[d] - x[d] == 0.0f);
  if (bad == 0) return;
  for (int64_t d = begin; d < end; ++d) {
    PYASR_CHECK(std::isfinite(x[d]), "feature ", d, " of frame ", frame, " is ", x[d]);
  }
}

}  // namespace

void AccumulateStats(MatrixView<const float> features, Span<const int32_t> keys, Span<const float> weights,
                     Span<double> count, MatrixView<double> sum, MatrixView<double> sumsq, int num_threads) {
  const int64_t num_frames = features.rows;
  const int64_t dim = features.cols;
  PYASR_CHECK_EQ(keys.size, num_frames, "number of keys against frames");
  PYASR_CHECK(weights.size == 0 || weights.size == num_frames, "number of weights: ", weights.size, " is not ",
              num_frames);
  for (int64_t t = 0; t < num_frames; ++t) {
    const int32_t key = keys[t];
    PYASR_CHECK(key >= -1 && key < count.size, "key of frame ", t, " is ", key, ", outside [-1, ", count.size, ")");
    if (key < 0) continue;
    const float weight = weights.size ? weights[t] : 1.0f;
    PYASR_CHECK(std::isfinite(weight), "weight of frame ", t, " is ", weight);
    count[key] += weight;
  }
  // Threads own blocks of columns: every sum is made by one thread, in the order of the frames. At most
  // one block a thread, each a whole number of float64 cache lines.
  constexpr int64_t kLine = 8;
  const int64_t lines = std::max<int64_t>(1, (dim + kLine - 1) / kLine);
  const int64_t width = kLine * ((lines + num_threads - 1) / num_threads);
  ParallelFor((dim + width - 1) / width, num_threads, [&](int64_t block) {
    const int64_t begin = block * width, end = std::min(dim, begin + width);
    for (int64_t t = 0; t < num_frames; ++t) {
      const int32_t key = keys[t];
      if (key < 0) continue;
      const double weight = weights.size ? weights[t] : 1.0;
      const float* x = features.row(t);
      CheckFinite(x, begin, end, t);
      double* first = sum.row(key);
      double* second = sumsq.row(key);
      for (int64_t d = begin; d < end; ++d) {
        const double value = x[d];
        first[d] += weight * value;
        second[d] += weight * value * value;
      }
    }
  });
}

}  // namespace pyasr
