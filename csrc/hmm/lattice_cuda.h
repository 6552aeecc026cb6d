// The lattice forward-backward on a GPU: the numbers of lattice_forward_backward.h to some roundings, summed in the
// same order, so the same in each run.
//
// A block of threads takes a lattice, level by level (lattice_plan.h), a thread a state. Bound: what waits for each
// other, two dependent reads of memory and a barrier a level and pass, about a microsecond or two; lattices are
// independent, and a GPU takes several hundred at once. Bytes are as on the CPU, some 90 an arc, and do not count
// beside that.
#pragma once

#include <cstdint>

#include "base/cuda.h"

namespace pyasr {

// Why a lattice has no result: status = reason << 32 | arc.
constexpr int64_t kLatticeBadScore = 1;   // NaN, +inf, or beyond kMaxArcScore
constexpr int64_t kLatticeBadValue = 2;   // not finite
constexpr int64_t kLatticeForbidden = 3;  // every path has an arc of -inf

// B lattices one behind the other, each numbered from 0 in itself, on the device. *_offset (B + 1,): where each begins.
// Arrays of LatticePlan that have one element more than there are states, levels or pairs have it for each lattice.
struct LatticeBatch {
  int64_t size;
  const int64_t* state_offset;
  const int64_t* arc_offset;
  const int64_t* level_offset;
  const int64_t* pair_offset;
  const int64_t* pair_arc_offset;
  const int32_t* arc_src;
  const int32_t* arc_dst;
  const int32_t* arc_senone;
  const int32_t* arc_time;
  const float* arc_cost;
  const float* final_cost;
  const int32_t* state;
  const int32_t* level_begin;
  const int32_t* out_begin;
  const int32_t* in_begin;
  const int32_t* in_arc;
  const int32_t* pair_begin;
  const int32_t* pair_arc;
};

// Doubles of scratch for so many states and arcs.
inline int64_t LatticeScratchDoubles(int64_t states, int64_t arcs) { return 4 * states + 2 * arcs; }

// Per lattice log_total, expected and status (B,), NaN where status is not 0; posteriors (A,); gradient (G,) by pairs.
// loglikes (B, T, S), utterances and frames so many elements apart; values (A,). Frames and senones of the lattices
// must lie inside.
void LatticeForwardBackwardCuda(const LatticeBatch& batch, const float* loglikes, int64_t utterance_stride,
                                int64_t frame_stride, double scale, const float* values, double* scratch,
                                int64_t num_states, int64_t num_arcs, double* log_total, double* expected,
                                double* posteriors, double* gradient, int64_t* status, CudaStream stream);

}  // namespace pyasr
