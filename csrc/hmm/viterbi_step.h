// The inner loop of ViterbiAlign: one frame.
#pragma once

#include <cstdint>

#include "base/isa.h"

namespace pyasr {

// Arrays over states have room for a multiple of so many: they are read and written in whole vectors.
constexpr int64_t kStateBlock = 8;

// An arc as its destination sees it.
struct InArc {
  int32_t src;
  int32_t dst;
  int32_t column;
  int32_t arc;
  float cost;
};

// An AlignmentGraph by destination: a state takes the minimum over its incoming arcs, which needs no unpredictable
// branch. In a graph numbered from left to right nearly all arcs lead from a state to itself or to the next one and
// read the column of their destination: these stand in arrays over states, so that vectors of states are taken at once.
struct ViterbiArcs {
  const double* loop_cost;     // (S,) from the state itself, +inf: no such arc
  const double* step_cost;     // (S,) from the state before, +inf: no such arc
  const int32_t* column;       // (S,) of both
  const InArc* others;         // all other arcs, by destination
  const int32_t* other_begin;  // (S+1,) the first of each state
};

// The costs of all states after a frame; +inf outside of the band [begin, end), which is empty when end <= begin.
struct StateCosts {
  double* of;
  int64_t begin;
  int64_t end;
};

// The costs of the states [begin, end), which are all that the band of `now` leads to. What is more than `beam` above
// the lowest is dropped, and the band of `next` narrowed to what is left. history[s] gets the cost of state s, for all
// of [begin, end) and at most the rest of its first and last block. Returns false where the log-likelihoods of active
// states (or of inactive ones, which does not matter) are NaN or +inf. The same bits in every instruction set.
PYASR_DECLARE_ISA(
    bool ViterbiStep(const ViterbiArcs& arcs, const float* loglikes, double scale, double beam, const StateCosts& now,
                     int64_t begin, int64_t end, StateCosts* next, double* history);)

}  // namespace pyasr
