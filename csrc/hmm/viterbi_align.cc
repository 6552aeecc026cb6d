#include "hmm/viterbi_align.h"

#include <cmath>
#include <limits>

#include "base/check.h"

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

}  // namespace

Alignment ViterbiAlign(const AlignmentGraph& graph, MatrixView<const float> loglikes, double scale, double beam) {
  PYASR_CHECK(std::isfinite(scale) && scale > 0, "acoustic scale is ", scale);
  PYASR_CHECK(beam > 0, "beam is ", beam);
  CheckGraph(graph, loglikes.cols);
  const int64_t num_states = graph.final_cost.size;
  const int64_t num_frames = loglikes.rows;

  std::vector<int32_t> source(graph.arc_dst.size);
  for (int64_t s = 0; s < num_states; ++s) {
    for (int32_t a = graph.arc_begin[s]; a < graph.arc_begin[s + 1]; ++a) source[a] = static_cast<int32_t>(s);
  }

  std::vector<double> now(num_states, kInfinity), next(num_states);
  std::vector<int32_t> back(num_frames * num_states, -1);  // arc by which a state was entered at a frame
  now[0] = 0.0;
  double best = 0.0;
  for (int64_t t = 0; t < num_frames; ++t) {
    next.assign(num_states, kInfinity);
    int32_t* entered_by = back.data() + t * num_states;
    const float* row = loglikes.row(t);
    const double limit = best + beam;
    double next_best = kInfinity;
    for (int64_t s = 0; s < num_states; ++s) {
      if (!(now[s] <= limit) || now[s] == kInfinity) continue;
      for (int32_t a = graph.arc_begin[s]; a < graph.arc_begin[s + 1]; ++a) {
        const float loglike = row[graph.arc_column[a]];
        // Written so that NaN fails, too.
        PYASR_CHECK(loglike < std::numeric_limits<float>::infinity(), "log-likelihood of frame ", t, ", column ",
                    graph.arc_column[a], " is ", loglike);
        const double cost = now[s] + graph.arc_cost[a] - scale * loglike;
        const int32_t dst = graph.arc_dst[a];
        if (cost < next[dst]) {
          next[dst] = cost;
          entered_by[dst] = a;
          if (cost < next_best) next_best = cost;
        }
      }
    }
    now.swap(next);
    best = next_best;
  }

  Alignment result;
  result.cost = kInfinity;
  int64_t state = -1;
  for (int64_t s = 0; s < num_states; ++s) {
    if (!(now[s] <= best + beam)) continue;
    const double cost = now[s] + graph.final_cost[s];
    if (cost < result.cost) {
      result.cost = cost;
      state = s;
    }
  }
  if (state < 0) return result;
  result.ok = true;
  result.arcs.resize(num_frames);
  for (int64_t t = num_frames - 1; t >= 0; --t) {
    const int32_t arc = back[t * num_states + state];
    result.arcs[t] = arc;
    state = source[arc];
  }
  return result;
}

}  // namespace pyasr
