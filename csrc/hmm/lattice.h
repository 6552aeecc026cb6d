// A lattice of one utterance: an acyclic graph of the paths that a search has kept.
#pragma once

#include <cstdint>

#include "base/span.h"

namespace pyasr {

constexpr int32_t kNoSenone = -1;

// States 0..n-1 in topological order and in the order of their times; 0 is the start. Arcs in the order of their
// source. An arc with a senone takes the frame `arc_time`, from a state of that time to a state one frame later; one
// without takes none, and its time is that of both states. All final states stand behind the last frame.
struct Lattice {
  Span<const int32_t> arc_src;     // (A,)
  Span<const int32_t> arc_dst;     // (A,)
  Span<const int32_t> arc_senone;  // (A,) kNoSenone: none
  Span<const int32_t> arc_time;    // (A,) frames before the arc
  Span<const float> arc_cost;      // (A,) graph cost
  Span<const float> final_cost;    // (n,) +inf: not final
};

}  // namespace pyasr
