#include "hmm/lattice_plan.h"

#include <algorithm>

namespace pyasr {
namespace {

// Stable counting sort of 0 .. keys.size() - 1 by their keys; those with a key below 0 are left out.
void SortByKey(const std::vector<int32_t>& keys, int32_t num_keys, std::vector<int32_t>* begin,
               std::vector<int32_t>* sorted) {
  begin->assign(num_keys + 1, 0);
  for (const int32_t key : keys) {
    if (key >= 0) ++(*begin)[key + 1];
  }
  for (int32_t key = 0; key < num_keys; ++key) (*begin)[key + 1] += (*begin)[key];
  sorted->resize(begin->back());
  std::vector<int32_t> next(begin->begin(), begin->end() - 1);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] >= 0) (*sorted)[next[keys[i]]++] = static_cast<int32_t>(i);
  }
}

}  // namespace

LatticePlan PlanLattice(const Lattice& lattice, int64_t num_senones) {
  const auto num_states = static_cast<int32_t>(lattice.final_cost.size);
  const int64_t num_arcs = lattice.arc_src.size;
  LatticePlan plan;
  std::vector<int32_t> level(num_states, 0), dst(lattice.arc_dst.begin(), lattice.arc_dst.end());
  plan.out_begin.assign(num_states + 1, 0);
  for (int64_t a = 0; a < num_arcs; ++a) {  // by source, so the source's level is known
    const int32_t source = lattice.arc_src[a];
    level[dst[a]] = std::max(level[dst[a]], level[source] + 1);
    ++plan.out_begin[source + 1];
  }
  for (int32_t s = 0; s < num_states; ++s) plan.out_begin[s + 1] += plan.out_begin[s];
  const int32_t num_levels = *std::max_element(level.begin(), level.end()) + 1;
  SortByKey(level, num_levels, &plan.level_begin, &plan.state);
  SortByKey(dst, num_states, &plan.in_begin, &plan.in_arc);

  // Arcs come in the order of frames: a pair is new where its senone's last one is of another frame.
  std::vector<int32_t> pair_of_arc(num_arcs, -1), last_pair(num_senones, -1);
  for (int64_t a = 0; a < num_arcs; ++a) {
    const int32_t senone = lattice.arc_senone[a], frame = lattice.arc_time[a];
    if (senone == kNoSenone) continue;
    int32_t& pair = last_pair[senone];
    if (pair < 0 || plan.pair_frame[pair] != frame) {
      pair = static_cast<int32_t>(plan.pair_frame.size());
      plan.pair_frame.push_back(frame);
      plan.pair_senone.push_back(senone);
    }
    pair_of_arc[a] = pair;
  }
  SortByKey(pair_of_arc, static_cast<int32_t>(plan.pair_frame.size()), &plan.pair_begin, &plan.pair_arc);
  return plan;
}

}  // namespace pyasr
