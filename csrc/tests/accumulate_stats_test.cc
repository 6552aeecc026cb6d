#include "hmm/accumulate_stats.h"

#include <limits>
#include <vector>

#include "tests/test.h"

namespace {

struct Stats {
  std::vector<double> count, sum, sumsq;
};

Stats Accumulate(const std::vector<float>& features, int64_t dim, const std::vector<int32_t>& keys, int64_t num_keys,
                 int threads) {
  Stats stats{std::vector<double>(num_keys), std::vector<double>(num_keys * dim), std::vector<double>(num_keys * dim)};
  const int64_t frames = static_cast<int64_t>(keys.size());
  pyasr::AccumulateStats({features.data(), frames, dim, dim}, {keys.data(), frames}, {}, {stats.count.data(), num_keys},
                         {stats.sum.data(), num_keys, dim, dim}, {stats.sumsq.data(), num_keys, dim, dim}, threads);
  return stats;
}

}  // namespace

TEST(StatsOfThreeFrames) {
  const Stats stats = Accumulate({1, 2, 3, 4, 5, 6}, 2, {1, -1, 1}, 2, 1);
  EXPECT(stats.count == std::vector<double>({0, 2}));
  EXPECT(stats.sum == std::vector<double>({0, 0, 6, 8}));
  EXPECT(stats.sumsq == std::vector<double>({0, 0, 26, 40}));
}

TEST(StatsDoNotDependOnThreads) {
  const int64_t frames = 4097, dim = 39;
  std::vector<float> features(frames * dim);
  std::vector<int32_t> keys(frames);
  for (size_t i = 0; i < features.size(); ++i) features[i] = 1.0f / static_cast<float>(1 + i % 1013);
  for (int64_t t = 0; t < frames; ++t) keys[t] = static_cast<int32_t>(t % 7) - 1;
  const Stats one = Accumulate(features, dim, keys, 6, 1), many = Accumulate(features, dim, keys, 6, 5);
  EXPECT(one.count == many.count && one.sum == many.sum && one.sumsq == many.sumsq);
}

TEST(StatsRefuseBadInput) {
  EXPECT(pyasr_test::Throws([] { Accumulate({1, 2}, 1, {0, 2}, 2, 1); }));
  EXPECT(pyasr_test::Throws([] { Accumulate({std::numeric_limits<float>::quiet_NaN()}, 1, {0}, 1, 1); }));
}
