// The graph of an alignment, checked and turned round for the search.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "hmm/viterbi_align.h"
#include "hmm/viterbi_step.h"

namespace pyasr {

inline int64_t InBlocks(int64_t num_states) { return (num_states + kStateBlock - 1) & -kStateBlock; }

// A graph by destination (ViterbiArcs). One object serves many graphs, one after the other, in the same memory.
class ViterbiGraph {
 public:
  // Throws std::invalid_argument as ViterbiAlign does.
  void Assign(const AlignmentGraph& graph, int64_t num_columns);

  ViterbiArcs Arcs() const {
    return {loop_cost_.data(), step_cost_.data(), column_.data(), others_.data(), other_begin_.data()};
  }

  // What the states of a band lead to lies in [BeginOf, EndOf): narrow bounds in a graph numbered from left to right.
  int64_t EndOf(const StateCosts& band) const { return end_dst_[band.end - 1]; }
  int64_t BeginOf(const StateCosts& band) const { return std::min<int64_t>(first_dst_[band.begin], EndOf(band)); }

  // Calls visit(source, arc, cost, column) for all arcs into a state.
  template <typename Visit>
  void ForArcsInto(int32_t state, const Visit& visit) const {
    if (step_arc_[state] >= 0) visit(state - 1, step_arc_[state], step_cost_[state], column_[state]);
    if (loop_arc_[state] >= 0) visit(state, loop_arc_[state], loop_cost_[state], column_[state]);
    for (int32_t i = other_begin_[state]; i < other_begin_[state + 1]; ++i) {
      visit(others_[i].src, others_[i].arc, static_cast<double>(others_[i].cost), others_[i].column);
    }
  }

 private:
  std::vector<double> loop_cost_, step_cost_;
  std::vector<int32_t> column_;
  std::vector<int32_t> loop_arc_, step_arc_;  // (S,) -1: none
  std::vector<InArc> others_, by_source_;
  std::vector<int32_t> other_begin_;
  std::vector<int32_t> first_dst_;  // (S,) the first state that s and all after it lead to
  std::vector<int32_t> end_dst_;    // (S,) behind the last one that s and all before it lead to
};

}  // namespace pyasr
