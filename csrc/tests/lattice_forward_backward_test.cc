#include "hmm/lattice_forward_backward.h"

#include <cmath>
#include <limits>
#include <vector>

#include "hmm/check_lattice.h"
#include "tests/test.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
pyasr::Span<const T> SpanOf(const std::vector<T>& numbers) {
  return {numbers.data(), static_cast<int64_t>(numbers.size())};
}

// States side by side at each frame but the first and the last; each leads to all of the next frame.
struct Grid {
  std::vector<int32_t> src, dst, senone, time;
  std::vector<float> cost, final_cost, loglikes, values;
  int64_t frames, width;

  Grid(int64_t frames, int64_t width) : loglikes(frames * width), frames(frames), width(width) {
    const auto first = [&](int64_t t) { return static_cast<int32_t>(t == 0 ? 0 : 1 + (t - 1) * width); };
    const auto states = [&](int64_t t) { return t == 0 || t == frames ? 1 : width; };
    for (int64_t t = 0; t < frames; ++t) {
      for (int32_t s = 0; s < states(t); ++s) {
        for (int32_t d = 0; d < states(t + 1); ++d) {
          src.push_back(first(t) + s);
          dst.push_back(first(t + 1) + d);
          senone.push_back((3 * s + d) % static_cast<int32_t>(width));
          time.push_back(static_cast<int32_t>(t));
          cost.push_back(0.01f * static_cast<float>(src.size() * 7919 % 1009));
          values.push_back(static_cast<float>(src.size() % 2));
        }
      }
    }
    final_cost.assign(first(frames) + 1, kInfinity);
    final_cost.back() = 0.5f;
    for (size_t i = 0; i < loglikes.size(); ++i) loglikes[i] = -0.01f * static_cast<float>(i * 104729 % 997);
  }

  pyasr::Lattice View() const {
    return {SpanOf(src), SpanOf(dst), SpanOf(senone), SpanOf(time), SpanOf(cost), SpanOf(final_cost)};
  }
  pyasr::MatrixView<const float> Loglikes() const { return {loglikes.data(), frames, width, width}; }
};

struct Result {
  pyasr::LatticePosteriors sums;
  std::vector<double> posteriors;
};

std::vector<Result> Compute(const std::vector<Grid>& grids, int threads) {
  std::vector<Result> results(grids.size());
  std::vector<pyasr::Lattice> lattices;
  std::vector<pyasr::MatrixView<const float>> loglikes;
  std::vector<pyasr::Span<const float>> values;
  std::vector<pyasr::Span<double>> posteriors;
  for (size_t i = 0; i < grids.size(); ++i) {
    results[i].posteriors.resize(grids[i].src.size());
    lattices.push_back(grids[i].View());
    loglikes.push_back(grids[i].Loglikes());
    values.push_back(SpanOf(grids[i].values));
    posteriors.push_back({results[i].posteriors.data(), static_cast<int64_t>(results[i].posteriors.size())});
  }
  auto sums = pyasr::LatticeForwardBackwardBatch(lattices, loglikes, 0.3, values, posteriors, threads);
  for (size_t i = 0; i < grids.size(); ++i) results[i].sums = sums[i];
  return results;
}

template <typename Change>
bool Damaged(const Change& change) {
  Grid grid(4, 3);
  change(grid);
  try {
    Compute({grid}, 1);
  } catch (const pyasr::LatticeError&) {
    return true;
  }
  return false;
}

}  // namespace

TEST(LatticeOfTwoPaths) {
  Grid grid(2, 2);
  grid.cost = {0, 0, 0, 0};
  grid.loglikes = {0, -1, -1, -3};
  grid.values = {1, 0, 2, 0};
  // Senones 0, 1 at frame 0 and 0, 1 at frame 1: the paths' scores are 0.3 times -1 and -4, their values 3 and 0.
  const Result result = Compute({grid}, 1)[0];
  const double p = 1 / (1 + std::exp(-0.9));
  EXPECT(std::abs(result.sums.log_total - (-0.3 - 0.5 + std::log1p(std::exp(-0.9)))) < 1e-7);
  EXPECT(std::abs(result.posteriors[0] - p) < 1e-7 && std::abs(result.posteriors[3] - (1 - p)) < 1e-7);
  EXPECT(std::abs(result.sums.expected - 3 * p) < 1e-6);
  EXPECT(result.sums.frame == std::vector<int32_t>({0, 0, 1, 1}));
  EXPECT(result.sums.senone == std::vector<int32_t>({0, 1, 0, 1}));
  for (int i = 0; i < 4; ++i) EXPECT(std::abs(result.sums.gradient[i] - (i % 2 ? -3 : 3) * p * (1 - p)) < 1e-6);
}

TEST(LatticesDoNotDependOnThreads) {
  std::vector<Grid> grids;
  for (int64_t frames : {1, 2, 40, 7, 97, 3}) grids.emplace_back(frames, 1 + frames % 7);
  grids.emplace_back(60, 20);
  const auto one = Compute(grids, 1), many = Compute(grids, 5);
  for (size_t i = 0; i < grids.size(); ++i) {
    EXPECT(one[i].posteriors == many[i].posteriors && one[i].sums.gradient == many[i].sums.gradient);
    EXPECT(one[i].sums.log_total == many[i].sums.log_total && one[i].sums.expected == many[i].sums.expected);
  }
}

TEST(LatticesThatAreDamagedAreRefused) {
  EXPECT(!Damaged([](Grid&) {}));
  EXPECT(Damaged([](Grid& g) { g.dst[5] = 1000; }));
  EXPECT(Damaged([](Grid& g) { g.dst[5] = g.src[5]; }));
  EXPECT(Damaged([](Grid& g) { g.src[5] = -1; }));
  EXPECT(Damaged([](Grid& g) { g.senone[5] = 3; }));
  EXPECT(Damaged([](Grid& g) { g.senone[5] = -2; }));
  EXPECT(Damaged([](Grid& g) { g.time[5] = 2147483647; }));
  EXPECT(Damaged([](Grid& g) { g.final_cost.pop_back(); }));
  EXPECT(Damaged([](Grid& g) { g.final_cost.clear(); }));
  EXPECT(Damaged([](Grid& g) { g.src.clear(); }));
  EXPECT(Damaged([](Grid& g) { g.cost.pop_back(); }));
  EXPECT(Damaged([](Grid& g) { --g.frames; }));
  // Whatever is written over an entry: an error, or numbers that pass the checks of each frame.
  uint32_t random = 1;
  const auto next = [&random] { return random = random * 1664525u + 1013904223u, random >> 8; };
  for (int repeat = 0; repeat < 5000; ++repeat) {
    Damaged([&](Grid& g) {
      std::vector<int32_t>* arrays[] = {&g.src, &g.dst, &g.senone, &g.time};
      auto& array = *arrays[next() % 4];
      array[next() % array.size()] = static_cast<int32_t>(next() % 16) - 2;
    });
  }
}

TEST(LatticeScoresThatAreNoNumbersAreRefused) {
  for (float bad : {kInfinity, std::nanf(""), -1e6f}) {
    Grid grid(4, 3);
    grid.loglikes[4] = bad;
    EXPECT(pyasr_test::Throws([&] { Compute({grid}, 1); }));
    grid = Grid(4, 3);
    grid.values[4] = std::abs(bad) < kInfinity ? kInfinity : bad;
    EXPECT(pyasr_test::Throws([&] { Compute({grid}, 1); }));
  }
  Grid grid(4, 3);
  for (int i = 0; i < 3; ++i) grid.loglikes[3 + i] = -kInfinity;
  EXPECT(pyasr_test::Throws([&] { Compute({grid}, 1); }));
}
