#include "hmm/check_lattice.h"

#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"

namespace pyasr {
namespace {

constexpr int32_t kNotReached = -1;

void CheckSizes(const Lattice& lattice) {
  const int64_t num_arcs = lattice.arc_src.size;
  PYASR_CHECK(lattice.final_cost.size > 0, "no states");
  PYASR_CHECK(num_arcs > 0, "no arcs");
  for (const int64_t size : {lattice.final_cost.size, num_arcs}) {
    PYASR_CHECK(size <= std::numeric_limits<int32_t>::max(), size, " states or arcs are more than 32 bits count");
  }
  PYASR_CHECK_EQ(lattice.arc_dst.size, num_arcs, "length of arc_dst against arc_src");
  PYASR_CHECK_EQ(lattice.arc_senone.size, num_arcs, "length of arc_senone against arc_src");
  PYASR_CHECK_EQ(lattice.arc_time.size, num_arcs, "length of arc_time against arc_src");
  PYASR_CHECK_EQ(lattice.arc_cost.size, num_arcs, "length of arc_cost against arc_src");
}

// The arcs in order: each leaves a state that is reached, at its time, and gives the next one its time.
std::vector<int32_t> TimesOfStates(const Lattice& lattice, int64_t num_frames, int64_t num_senones) {
  const int64_t num_states = lattice.final_cost.size;
  std::vector<int32_t> times(num_states, kNotReached);
  times[0] = 0;
  int32_t last_src = 0;
  for (int64_t a = 0; a < lattice.arc_src.size; ++a) {
    const int32_t src = lattice.arc_src[a], dst = lattice.arc_dst[a], senone = lattice.arc_senone[a];
    PYASR_CHECK(src >= last_src, "arc ", a, " leaves state ", src, ", the arc before it state ", last_src,
                ": arcs are not in the order of their source");
    PYASR_CHECK(dst > src && dst < num_states, "arc ", a, " leads from state ", src, " to ", dst, " of ", num_states,
                ": not in topological order");
    PYASR_CHECK(senone >= kNoSenone && senone < num_senones, "senone of arc ", a, " is ", senone, " of ", num_senones);
    PYASR_CHECK(std::isfinite(lattice.arc_cost[a]), "cost of arc ", a, " is ", lattice.arc_cost[a]);
    PYASR_CHECK(times[src] != kNotReached, "state ", src, " is not reached");
    const int32_t time = lattice.arc_time[a];
    PYASR_CHECK(time == times[src], "arc ", a, " has time ", time, ", its source ", times[src]);
    PYASR_CHECK(senone == kNoSenone || time < num_frames, "arc ", a, " has time ", time, " of ", num_frames, " frames");
    const int32_t after = time + (senone != kNoSenone);
    if (times[dst] == kNotReached) times[dst] = after;
    PYASR_CHECK(times[dst] == after, "arc ", a, " reaches state ", dst, " after ", after, " frames, another after ",
                times[dst]);
    last_src = src;
  }
  return times;
}

void CheckStates(const Lattice& lattice, const std::vector<int32_t>& times, int64_t num_frames) {
  int64_t a = 0;
  for (int64_t s = 0; s < lattice.final_cost.size; ++s) {
    PYASR_CHECK(times[s] != kNotReached, "state ", s, " is not reached");
    PYASR_CHECK(s == 0 || times[s - 1] <= times[s], "state ", s, " has time ", times[s], ", the one before it ",
                times[s - 1], ": states are not in the order of their times");
    const float cost = lattice.final_cost[s];
    const bool is_final = std::isfinite(cost);
    PYASR_CHECK(is_final || cost == std::numeric_limits<float>::infinity(), "final cost of state ", s, " is ", cost);
    PYASR_CHECK(!is_final || times[s] == num_frames, "state ", s, " is final after ", times[s], " of ", num_frames,
                " frames");
    const bool has_arcs = a < lattice.arc_src.size && lattice.arc_src[a] == s;
    PYASR_CHECK(is_final || has_arcs, "no way leads on from state ", s);
    while (a < lattice.arc_src.size && lattice.arc_src[a] == s) ++a;
  }
}

}  // namespace

void CheckLattice(const Lattice& lattice, int64_t num_frames, int64_t num_senones) {
  try {
    CheckSizes(lattice);
    CheckStates(lattice, TimesOfStates(lattice, num_frames, num_senones), num_frames);
  } catch (const std::invalid_argument& error) {
    throw LatticeError(error.what());
  }
}

}  // namespace pyasr
