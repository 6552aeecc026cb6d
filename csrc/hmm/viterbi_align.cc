#include "hmm/viterbi_align.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/thread_pool.h"

namespace pyasr {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void CheckGraph(const AlignmentGraph& graph, int64_t num_columns) {
  const int64_t num_states = graph.final_cost.size;
  const int64_t num_arcs = graph.arc_dst.size;
  PYASR_CHECK(num_states > 0, "the graph has no states");
  PYASR_CHECK_EQ(graph.arc_begin.size, num_states + 1, "length of arc_begin against states + 1");
  PYASR_CHECK_EQ(graph.arc_column.size, num_arcs, "length of arc_column against arcs");
  PYASR_CHECK_EQ(graph.arc_cost.size, num_arcs, "length of arc_cost against arcs");
  PYASR_CHECK_EQ(graph.arc_begin[0], 0, "first entry of arc_begin");
  PYASR_CHECK_EQ(graph.arc_begin[num_states], num_arcs, "last entry of arc_begin against arcs");
  for (int64_t s = 0; s < num_states; ++s) {
    PYASR_CHECK(graph.arc_begin[s] <= graph.arc_begin[s + 1], "arc_begin decreases at state ", s);
    const float cost = graph.final_cost[s];
    PYASR_CHECK(!std::isnan(cost) && cost > -kInfinity, "final_cost of state ", s, " is ", cost);
  }
  for (int64_t a = 0; a < num_arcs; ++a) {
    PYASR_CHECK(graph.arc_dst[a] >= 0 && graph.arc_dst[a] < num_states, "arc ", a, " leads to state ",
                graph.arc_dst[a], " of ", num_states);
    PYASR_CHECK(graph.arc_column[a] >= 0 && graph.arc_column[a] < num_columns, "arc ", a, " reads column ",
                graph.arc_column[a], " of ", num_columns);
    PYASR_CHECK(std::isfinite(graph.arc_cost[a]), "cost of arc ", a, " is ", graph.arc_cost[a]);
  }
}

// Costs of the states [begin, end); the other states' costs are +inf.
struct Band {
  std::vector<double> cost;
  int64_t begin = 0;
  int64_t end = 0;
  double best = kInfinity;

  explicit Band(int64_t num_states) : cost(num_states, kInfinity) {}

  void Clear() {
    std::fill(cost.begin() + begin, cost.begin() + end, kInfinity);
    begin = static_cast<int64_t>(cost.size());
    end = 0;
    best = kInfinity;
  }
  void Put(int64_t state, double value) {
    cost[state] = value;
    begin = std::min(begin, state);
    end = std::max(end, state + 1);
    best = std::min(best, value);
  }
  bool IsActive(int64_t state, double beam) const { return cost[state] < kInfinity && cost[state] <= best + beam; }
};

// The arcs by which the states begin, begin + 1, ... were entered at one frame; those of inactive states mean nothing.
struct BackPointers {
  int64_t begin;
  std::vector<int32_t> arcs;
};

void ForwardFrame(const AlignmentGraph& graph, const float* loglikes, int64_t frame, double scale, double beam,
                  const Band& now, Band& next, std::vector<int32_t>& entered_by) {
  for (int64_t s = now.begin; s < now.end; ++s) {
    if (!now.IsActive(s, beam)) continue;
    for (int32_t a = graph.arc_begin[s]; a < graph.arc_begin[s + 1]; ++a) {
      const float loglike = loglikes[graph.arc_column[a]];
      // Written so that NaN fails, too.
      PYASR_CHECK(loglike < std::numeric_limits<float>::infinity(), "log-likelihood of frame ", frame, ", column ",
                  graph.arc_column[a], " is ", loglike);
      const double cost = now.cost[s] + graph.arc_cost[a] - scale * loglike;
      const int32_t dst = graph.arc_dst[a];
      if (cost < next.cost[dst]) {
        next.Put(dst, cost);
        entered_by[dst] = a;
      }
    }
  }
}

int64_t SourceOf(const AlignmentGraph& graph, int32_t arc) {
  return std::upper_bound(graph.arc_begin.begin(), graph.arc_begin.end(), arc) - graph.arc_begin.begin() - 1;
}

}  // namespace

Alignment ViterbiAlign(const AlignmentGraph& graph, MatrixView<const float> loglikes, double scale, double beam) {
  PYASR_CHECK(std::isfinite(scale) && scale > 0, "acoustic scale is ", scale);
  PYASR_CHECK(beam > 0, "beam is ", beam);
  CheckGraph(graph, loglikes.cols);
  const int64_t num_states = graph.final_cost.size;
  const int64_t num_frames = loglikes.rows;

  Band now(num_states), next(num_states);
  now.Put(0, 0.0);
  std::vector<int32_t> entered_by(num_states);
  std::vector<BackPointers> back;
  back.reserve(num_frames);
  for (int64_t t = 0; t < num_frames; ++t) {
    next.Clear();
    ForwardFrame(graph, loglikes.row(t), t, scale, beam, now, next, entered_by);
    if (next.best == kInfinity) return {};
    while (!next.IsActive(next.begin, beam)) next.cost[next.begin++] = kInfinity;
    while (!next.IsActive(next.end - 1, beam)) next.cost[--next.end] = kInfinity;
    back.push_back({next.begin, {entered_by.begin() + next.begin, entered_by.begin() + next.end}});
    std::swap(now, next);
  }

  Alignment result;
  int64_t state = -1;
  for (int64_t s = now.begin; s < now.end; ++s) {
    const double cost = now.cost[s] + graph.final_cost[s];
    if (now.IsActive(s, beam) && cost < result.cost) {
      result.cost = cost;
      state = s;
    }
  }
  if (state < 0) return {};
  result.ok = true;
  result.arcs.resize(num_frames);
  for (int64_t t = num_frames - 1; t >= 0; --t) {
    result.arcs[t] = back[t].arcs[state - back[t].begin];
    state = SourceOf(graph, result.arcs[t]);
  }
  return result;
}

std::vector<Alignment> ViterbiAlignBatch(const std::vector<AlignmentGraph>& graphs,
                                         const std::vector<MatrixView<const float>>& loglikes, double scale,
                                         double beam, int num_threads) {
  PYASR_CHECK_EQ(graphs.size(), loglikes.size(), "number of graphs against log-likelihood matrices");
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  std::vector<Alignment> alignments(graphs.size());
  ParallelFor(static_cast<int64_t>(graphs.size()), num_threads, [&](int64_t i) {
    try {
      alignments[i] = ViterbiAlign(graphs[i], loglikes[i], scale, beam);
    } catch (const std::invalid_argument& error) {
      Fail("utterance ", i, ": ", error.what());
    }
  });
  return alignments;
}

}  // namespace pyasr
