// Viterbi alignment of one utterance to an epsilon-free graph.
//
// States s = 0..S-1 (start 0), arcs grouped by source state. Arc a from s to dst[a] consumes one frame t
// at the cost  arc_cost[a] - scale * loglikes[t, column(a)],  column(a) = tid_to_column[arc_tid[a]].
//
//   cost_0(0) = 0,  cost_{t+1}(dst[a]) = min over arcs a of cost_t(src[a]) + cost of a at frame t
//   result: the arcs of the path that minimises cost_T(s) + final_cost[s].
//
// Sums are float64. Of equal costs the arc with the lower index wins, and the lower final state.
// With a finite beam, states whose cost is more than `beam` above the best of their frame are dropped.
//
// Time: O(arcs into the band) a frame; memory: 8 bytes a frame and state of the band. The band is the states between
// the lowest and the highest active one: narrow, given a beam, when the graph is numbered from left to right.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "base/span.h"

namespace pyasr {

struct AlignmentGraph {
  Span<const int32_t> arc_begin;   // (S+1,) first arc of each state
  Span<const int32_t> arc_dst;     // (A,)
  Span<const int32_t> arc_tid;     // (A,) transition ids, from 1 on
  Span<const float> arc_cost;      // (A,)
  Span<const float> final_cost;    // (S,) +inf: not final
  Span<const int32_t> tid_to_column;  // (num_tids + 1,) column of the log-likelihood matrix; entry 0 is not used

  int32_t Column(int64_t arc) const { return tid_to_column[arc_tid[arc]]; }
};

struct Alignment {
  std::vector<int32_t> arcs;  // (T,), empty unless ok
  double cost = std::numeric_limits<double>::infinity();  // +inf unless ok
  bool ok = false;
};

// Throws std::invalid_argument for a graph that points outside itself or outside the matrix, for NaN in
// the graph, and for NaN or +inf among the log-likelihoods the search looks at (-inf forbids the arc).
Alignment ViterbiAlign(const AlignmentGraph& graph, MatrixView<const float> loglikes, double scale, double beam);

// The same for many utterances, on `num_threads` threads; an error names the lowest utterance it is about.
std::vector<Alignment> ViterbiAlignBatch(const std::vector<AlignmentGraph>& graphs,
                                         const std::vector<MatrixView<const float>>& loglikes, double scale,
                                         double beam, int num_threads);

}  // namespace pyasr
