#include "hmm/viterbi_align.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/select.h"
#include "base/parallel_for.h"

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

// An arc as its destination sees it.
struct InArc {
  int32_t src;
  int32_t column;
  int32_t arc;
  float cost;
};

// The graph by destination: a state then takes the minimum over its incoming arcs, which needs no unpredictable
// branch and no second look at memory just written, as spreading costs over the outgoing arcs would.
struct InGraph {
  std::vector<int32_t> begin;              // (S+1,) first incoming arc of each state
  std::vector<InArc> arcs;                 // (A,) of each state in ascending order of `arc`
  // (S,) The states that s and all after it lead to begin at first_dst[s]; those that s and all before it lead to end
  // before end_dst[s]. In a graph numbered from left to right these are the bounds of what a band of states leads to.
  std::vector<int32_t> first_dst, end_dst;

  explicit InGraph(const AlignmentGraph& graph)
      : begin(graph.final_cost.size + 1),
        arcs(graph.arc_dst.size),
        first_dst(graph.final_cost.size, static_cast<int32_t>(graph.final_cost.size)),
        end_dst(graph.final_cost.size) {
    for (int32_t dst : graph.arc_dst) ++begin[dst + 1];
    for (size_t s = 1; s < begin.size(); ++s) begin[s] += begin[s - 1];
    std::vector<int32_t> fill(begin.begin(), begin.end() - 1);
    for (int32_t s = 0; s < graph.final_cost.size; ++s) {
      for (int32_t a = graph.arc_begin[s]; a < graph.arc_begin[s + 1]; ++a) {
        const int32_t dst = graph.arc_dst[a];
        arcs[fill[dst]++] = {s, graph.arc_column[a], a, graph.arc_cost[a]};
        first_dst[s] = std::min(first_dst[s], dst);
        end_dst[s] = std::max(end_dst[s], dst + 1);
      }
    }
    for (size_t s = 1; s < end_dst.size(); ++s) end_dst[s] = std::max(end_dst[s], end_dst[s - 1]);
    for (size_t s = first_dst.size() - 1; s > 0; --s) first_dst[s - 1] = std::min(first_dst[s - 1], first_dst[s]);
  }
};

// The costs of all states after a frame; +inf outside of [begin, end).
struct Costs {
  std::vector<double> of;
  int64_t begin = 0;
  int64_t end = 0;

  explicit Costs(int64_t num_states) : of(num_states, kInfinity) {}

  // Drops what is more than `beam` above the lowest, and narrows the band to what is left.
  void Prune(double beam, double lowest) {
    const double limit = beam + lowest;
    for (int64_t s = begin; s < end; ++s) of[s] = of[s] <= limit ? of[s] : kInfinity;
    while (begin < end && of[begin] == kInfinity) ++begin;
    while (begin < end && of[end - 1] == kInfinity) --end;
  }
};

// The arcs by which the states of each frame's band were entered, as places in InGraph::arcs.
struct BackPointers {
  struct Frame {
    int64_t begin;  // the first state of the band
    size_t offset;  // of its arc in `places`; those of the next states follow
  };
  std::vector<Frame> frames;
  std::vector<int32_t> places;
};

// Refuses log-likelihoods that must not be among those that the active states look at.
void CheckLoglikes(const AlignmentGraph& graph, const float* loglikes, int64_t frame, const Costs& now) {
  for (int64_t s = now.begin; s < now.end; ++s) {
    if (now.of[s] == kInfinity) continue;
    for (int32_t a = graph.arc_begin[s]; a < graph.arc_begin[s + 1]; ++a) {
      const float loglike = loglikes[graph.arc_column[a]];
      // Written so that NaN fails, too.
      PYASR_CHECK(loglike < kInfinity, "log-likelihood of frame ", frame, ", column ", graph.arc_column[a], " is ",
                  loglike);
    }
  }
}

struct StepResult {
  double lowest;  // of the costs
  bool sane;      // no NaN or -inf among them
};

// One frame: the costs of `next` from those of `now`, and the places of the arcs that gave them, added to `places`. Not
// sane: the log-likelihoods of active states (or of inactive ones, which does not matter) are NaN or +inf.
StepResult Step(const InGraph& graph, const float* loglikes, double scale, const Costs& now, Costs& next,
                std::vector<int32_t>& places) {
  std::fill(next.of.begin() + next.begin, next.of.begin() + next.end, kInfinity);
  const int32_t end = graph.end_dst[now.end - 1], begin = std::min(graph.first_dst[now.begin], end);
  next.begin = begin;
  next.end = end;
  const size_t offset = places.size();
  places.resize(offset + static_cast<size_t>(end - begin));
  int32_t* entered_by = places.data() + offset;
  StepResult result{kInfinity, true};
  for (int32_t dst = begin; dst < end; ++dst) {
    double best = kInfinity;
    int32_t best_place = -1;
    for (int32_t i = graph.begin[dst]; i < graph.begin[dst + 1]; ++i) {
      const InArc& in = graph.arcs[i];
      const double cost = now.of[in.src] + in.cost - scale * loglikes[in.column];
      result.sane &= cost > -kInfinity;
      best_place = Select(cost < best, i, best_place);
      best = cost < best ? cost : best;
    }
    next.of[dst] = best;
    entered_by[dst - begin] = best_place;
    result.lowest = best < result.lowest ? best : result.lowest;
  }
  return result;
}

}  // namespace

Alignment ViterbiAlign(const AlignmentGraph& graph, MatrixView<const float> loglikes, double scale, double beam) {
  PYASR_CHECK(std::isfinite(scale) && scale > 0, "acoustic scale is ", scale);
  PYASR_CHECK(beam > 0, "beam is ", beam);
  CheckGraph(graph, loglikes.cols);
  const int64_t num_states = graph.final_cost.size;
  const int64_t num_frames = loglikes.rows;

  const InGraph in_graph(graph);
  Costs now(num_states), next(num_states);
  now.of[0] = 0.0;
  now.end = 1;
  BackPointers back;
  back.frames.reserve(num_frames);
  for (int64_t t = 0; t < num_frames; ++t) {
    const size_t offset = back.places.size();
    const StepResult step = Step(in_graph, loglikes.row(t), scale, now, next, back.places);
    if (!step.sane) CheckLoglikes(graph, loglikes.row(t), t, now);
    const int64_t first = next.begin;
    next.Prune(beam, step.lowest);
    if (next.begin == next.end) return {};
    back.frames.push_back({next.begin, offset + static_cast<size_t>(next.begin - first)});
    back.places.resize(offset + static_cast<size_t>(next.end - first));
    std::swap(now, next);
  }

  Alignment result;
  int64_t state = -1;
  for (int64_t s = now.begin; s < now.end; ++s) {
    const double cost = now.of[s] + graph.final_cost[s];
    if (cost < result.cost) {
      result.cost = cost;
      state = s;
    }
  }
  if (state < 0) return {};
  result.ok = true;
  result.arcs.resize(num_frames);
  for (int64_t t = num_frames - 1; t >= 0; --t) {
    const int32_t place = back.places[back.frames[t].offset + static_cast<size_t>(state - back.frames[t].begin)];
    result.arcs[t] = in_graph.arcs[place].arc;
    state = in_graph.arcs[place].src;
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
