// The recurrence of an LSTM layer: all of it but the input product, which is one large product over all frames and
// comes from outside (`projected` = x W_ih^T + b_ih + b_hh). Float32, on the CPU.
//
// Time comes first: frame t of sequence n is row t N + n. Sequence n has lengths[n] frames, 0 to `frames`; the reverse
// direction begins at its last one. Nothing behind a sequence's end is read; outputs and gradients there are zeros.
//
// Cost: a step multiplies N rows by the 4 H x H recurrent weights, 8 N H^2 flops for 16 H^2 bytes, so that from N = 4
// on it is bound by the multiply-adds where the weights come from the second or third cache. A sequence's results
// depend neither on the others nor on the number of threads.
#pragma once

#include <cstdint>

#include "base/span.h"

namespace pyasr {

struct LstmShape {
  int64_t frames;      // T
  int64_t batch;       // N
  int64_t units;       // H
  int64_t directions;  // 1, or 2: the second one runs backwards in time
};

// One direction's tensors, contiguous unless a stride is given. None overlaps another.
struct LstmForwardDirection {
  const float* projected;    // (T, N, 4 H)
  const float* weight_hh;    // (4 H, H)
  const float* first_state;  // (N, H)
  const float* first_cell;   // (N, H)
  float* output;             // (T, N, H), rows directions * H apart
  float* last_state;         // (N, H)
  float* last_cell;          // (N, H)
  float* gates;              // (T, N, 4 H) for the backward pass, undefined behind the ends; null: not wanted
  float* cells;              // (T, N, H), as gates
};

struct LstmBackwardDirection {
  const float* weight_hh;
  const float* first_cell;
  const float* gates;
  const float* cells;
  const float* d_output;      // (T, N, H), rows directions * H apart
  const float* d_last_state;  // (N, H)
  const float* d_last_cell;   // (N, H)
  float* d_projected;         // (T, N, 4 H)
  float* d_first_cell;        // (N, H)
};

// Both run on at most num_threads threads, each of which has units of its own of one direction. std::invalid_argument
// for a length outside [0, T] or fewer than one thread.
void LstmForward(const LstmShape& shape, Span<const int64_t> lengths, const LstmForwardDirection* directions,
                 int num_threads);
void LstmBackward(const LstmShape& shape, Span<const int64_t> lengths, const LstmBackwardDirection* directions,
                  int num_threads);

}  // namespace pyasr
