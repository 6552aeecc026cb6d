#include "hmm/viterbi_step.h"

#include <cfloat>

#include "base/simd.h"

namespace pyasr {
namespace PYASR_ISA {

bool ViterbiStep(const ViterbiArcs& arcs, const float* loglikes, double scale, double beam, const StateCosts& now,
                 int64_t begin, int64_t end, StateCosts* next, double* history) {
  static_assert(kStateBlock % kLanes64 == 0, "vectors must not cross blocks");
  const double infinity = __builtin_inf();
  const F64 nothing = Fill(infinity);
  const double* from = now.of;
  double* to = next->of;
  for (int64_t s = next->begin & -kLanes64; s < next->end; s += kLanes64) Store(to + s, nothing);

  // A NaN is not below anything, so it is no minimum.
  double lowest = infinity;
  bool sane = true;
  for (int64_t i = arcs.other_begin[begin]; i < arcs.other_begin[end]; ++i) {
    const InArc& in = arcs.others[i];
    const float loglike = loglikes[in.column];
    const double cost = from[in.src] + in.cost - scale * loglike;
    double& best = to[in.dst];
    sane &= loglike < infinity;
    best = cost < best ? cost : best;
    lowest = cost < lowest ? cost : lowest;
  }
  begin &= -kLanes64;
  F64 before = begin > 0 ? Load(from + begin - kLanes64) : nothing;
  F64 lowests = Fill(lowest);
  constexpr uint32_t all = (1u << kLanes64) - 1;
  uint32_t finite = all;
  for (int64_t s = begin; s < end; s += kLanes64) {
    const F64 here = Load(from + s), loglike = Gather(loglikes, arcs.column + s), gain = Fill(scale) * loglike;
    const F64 by_step = Shift(before, here) + Load(arcs.step_cost + s) - gain;
    const F64 by_loop = here + Load(arcs.loop_cost + s) - gain;
    const F64 best = Min(by_loop, Min(by_step, Load(to + s)));
    lowests = Min(best, lowests);
    finite &= LessEqualBits(loglike, Fill(DBL_MAX));
    Store(to + s, best);
    before = here;
  }

  const double limit = beam + MinOf(lowests);
  const F64 limits = Fill(limit > DBL_MAX ? DBL_MAX : limit);
  int64_t first = end, last = begin;
  for (int64_t s = begin; s < end; s += kLanes64) {
    const F64 cost = Load(to + s), pruned = cost <= limits ? cost : nothing;
    const uint32_t kept = LessEqualBits(cost, limits);
    Store(to + s, pruned);
    Store(history + s, pruned);
    if (kept) {
      first = first == end ? s + __builtin_ctz(kept) : first;
      last = s + 32 - __builtin_clz(kept);
    }
  }
  next->begin = first;
  next->end = last;
  return sane && finite == all;
}

}  // namespace PYASR_ISA
}  // namespace pyasr
