#include "hmm/viterbi_align.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/test.h"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Two states in a row, each with a self-loop: 0 -a-> 1 (loop a) -b-> 2 (loop b), 2 final.
struct Chain {
  std::vector<int32_t> begin{0, 1, 3, 4}, dst{1, 1, 2, 2}, tid{1, 1, 2, 2}, tid_to_column{-1, 0, 1};
  std::vector<float> cost{0.5f, 0.25f, 1.0f, 2.0f}, final_cost{kInfinity, kInfinity, 0.125f};

  pyasr::AlignmentGraph Graph() const {
    return {{begin.data(), 4}, {dst.data(), 4},        {tid.data(), 4},
            {cost.data(), 4},  {final_cost.data(), 3}, {tid_to_column.data(), 3}};
  }
  pyasr::Alignment Align(const std::vector<float>& loglikes, double beam = kInfinity) const {
    return pyasr::ViterbiAlign(Graph(), {loglikes.data(), static_cast<int64_t>(loglikes.size() / 2), 2, 2}, 1.0, beam);
  }
};

}  // namespace

TEST(ViterbiFindsTheBoundary) {
  const pyasr::Alignment alignment = Chain().Align({-1, -9, -1, -9, -9, -1});
  EXPECT(alignment.ok);
  EXPECT(alignment.arcs == std::vector<int32_t>({0, 1, 2}));
  EXPECT(std::abs(alignment.cost - (3 + 0.5 + 0.25 + 1 + 0.125)) < 1e-12);
}

TEST(ViterbiWithoutAPathIsNotOk) {
  const pyasr::Alignment alignment = Chain().Align({-1, -1});
  EXPECT(!alignment.ok && alignment.arcs.empty() && std::isinf(alignment.cost));
  EXPECT(!Chain().Align({}).ok);
}

TEST(ViterbiRefusesNanAndBrokenGraphs) {
  EXPECT(pyasr_test::Throws([] { Chain().Align({std::nanf(""), 0, 0, 0}); }));
  Chain chain;
  chain.dst[2] = 3;
  EXPECT(pyasr_test::Throws([&] { chain.Align({0, 0, 0, 0}); }));
  chain = Chain();
  chain.tid[0] = 3;
  EXPECT(pyasr_test::Throws([&] { chain.Align({0, 0, 0, 0}); }));
  chain = Chain();
  chain.tid_to_column[2] = 2;
  EXPECT(pyasr_test::Throws([&] { chain.Align({0, 0, 0, 0}); }));
  chain = Chain();
  chain.begin[1] = 5;
  EXPECT(pyasr_test::Throws([&] { chain.Align({0, 0, 0, 0}); }));
}

TEST(ViterbiBatchDoesNotDependOnThreads) {
  const Chain chain;
  std::vector<std::vector<float>> values;
  std::vector<pyasr::MatrixView<const float>> loglikes;
  for (int64_t frames = 0; frames < 97; ++frames) {
    values.emplace_back(frames * 2);
    for (size_t i = 0; i < values.back().size(); ++i) values.back()[i] = -1.0f / static_cast<float>(1 + i * 7919 % 31);
    loglikes.push_back({values.back().data(), frames, 2, 2});
  }
  const std::vector<pyasr::AlignmentGraph> graphs(loglikes.size(), chain.Graph());
  const auto one = pyasr::ViterbiAlignBatch(graphs, loglikes, 1.0, kInfinity, 1);
  const auto many = pyasr::ViterbiAlignBatch(graphs, loglikes, 1.0, kInfinity, 5);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT(one[i].ok == (loglikes[i].rows >= 2) && one[i].ok == many[i].ok);
    EXPECT(one[i].arcs == many[i].arcs && one[i].cost == many[i].cost);
  }
}
