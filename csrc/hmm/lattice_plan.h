// A lattice in the order that many threads take it in: which states can be done together, and which arcs each sums up.
#pragma once

#include <cstdint>
#include <vector>

#include "hmm/lattice.h"

namespace pyasr {

struct LatticePlan {
  // States by level, in ascending order in a level: all arcs into a state come from lower levels.
  std::vector<int32_t> state;        // (n,)
  std::vector<int32_t> level_begin;  // (levels + 1,) places in `state`
  std::vector<int32_t> out_begin;    // (n + 1,) arcs that leave a state are neighbours
  std::vector<int32_t> in_begin;     // (n + 1,) places in `in_arc`
  std::vector<int32_t> in_arc;       // (A,) by destination, then in the order of the arcs
  // The pairs of frame and senone that occur, in the order of LatticePosteriors, and the arcs of each in their order.
  std::vector<int32_t> pair_frame, pair_senone;  // (G,)
  std::vector<int32_t> pair_begin;               // (G + 1,) places in `pair_arc`
  std::vector<int32_t> pair_arc;                 // arcs that take a frame
};

// For a lattice that CheckLattice lets pass. O(arcs).
LatticePlan PlanLattice(const Lattice& lattice, int64_t num_senones);

}  // namespace pyasr
