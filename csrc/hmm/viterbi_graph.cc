#include "hmm/viterbi_graph.h"

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
  PYASR_CHECK_EQ(graph.arc_tid.size, num_arcs, "length of arc_tid against arcs");
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
    PYASR_CHECK(graph.arc_tid[a] >= 1 && graph.arc_tid[a] < graph.tid_to_column.size, "arc_tid of arc ", a, " is ",
                graph.arc_tid[a], ", outside 1..", graph.tid_to_column.size - 1);
    PYASR_CHECK(graph.Column(a) >= 0 && graph.Column(a) < num_columns, "arc ", a, " reads column ", graph.Column(a),
                " of ", num_columns);
    PYASR_CHECK(std::isfinite(graph.arc_cost[a]), "cost of arc ", a, " is ", graph.arc_cost[a]);
  }
}

}  // namespace

void ViterbiGraph::Assign(const AlignmentGraph& graph, int64_t num_columns) {
  CheckGraph(graph, num_columns);
  const int32_t num_states = static_cast<int32_t>(graph.final_cost.size);
  loop_cost_.assign(InBlocks(num_states), kInfinity);
  step_cost_.assign(InBlocks(num_states), kInfinity);
  column_.assign(InBlocks(num_states), 0);
  loop_arc_.assign(num_states, -1);
  step_arc_.assign(num_states, -1);
  other_begin_.assign(num_states + 1, 0);
  first_dst_.resize(num_states);
  end_dst_.resize(num_states);
  by_source_.clear();
  int32_t end_dst = 0;
  for (int32_t s = 0; s < num_states; ++s) {
    int32_t first_dst = num_states;
    for (int32_t a = graph.arc_begin[s]; a < graph.arc_begin[s + 1]; ++a) {
      const int32_t dst = graph.arc_dst[a], column = graph.Column(a);
      first_dst = std::min(first_dst, dst);
      end_dst = std::max(end_dst, dst + 1);
      const bool same_column = column_[dst] == column || (loop_arc_[dst] < 0 && step_arc_[dst] < 0);
      if (dst == s && loop_arc_[dst] < 0 && same_column) {
        loop_arc_[dst] = a;
        loop_cost_[dst] = graph.arc_cost[a];
        column_[dst] = column;
      } else if (dst == s + 1 && step_arc_[dst] < 0 && same_column) {
        step_arc_[dst] = a;
        step_cost_[dst] = graph.arc_cost[a];
        column_[dst] = column;
      } else {
        by_source_.push_back({s, dst, column, a, graph.arc_cost[a]});
        ++other_begin_[dst + 1];
      }
    }
    first_dst_[s] = first_dst;
    end_dst_[s] = end_dst;
  }
  for (int32_t s = num_states - 1; s > 0; --s) first_dst_[s - 1] = std::min(first_dst_[s - 1], first_dst_[s]);
  // Counting sort; other_begin_[dst] counts up to the next state's and is set back.
  for (int32_t s = 0; s < num_states; ++s) other_begin_[s + 1] += other_begin_[s];
  others_.resize(by_source_.size());
  for (const InArc& arc : by_source_) others_[other_begin_[arc.dst]++] = arc;
  for (int32_t s = num_states; s > 0; --s) other_begin_[s] = other_begin_[s - 1];
  other_begin_[0] = 0;
}

}  // namespace pyasr
