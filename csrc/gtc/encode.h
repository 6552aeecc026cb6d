// Residual, threshold and compaction of gradient threshold compression in one pass.
//
//   s = residual + grad;   s >  tau: send +tau, residual = s - tau
//                          s < -tau: send -tau, residual = s + tau
//                          else residual = s
//
// One rounding in the sum, and none in the difference while |s| <= 2 tau, so sent + residual = grad + old residual as
// exactly as float32 can say it.
//
// Bound: memory. 8 bytes an element are read and 4 written, where a copy of as many bytes reads what it overwrites
// besides; a comparison, an addition and a subtraction hide behind that. Words cost little: at density 1e-3 they come
// in 3 of 100 groups of 32 elements, and one branch a group finds these.
#pragma once

#include <cstdint>
#include <vector>

#include "base/span.h"

namespace pyasr {

struct GtcEncoded {
  std::vector<int32_t> words;  // see words.h; indices ascend
  int64_t count = 0;           // of words, also where they were put back
  int64_t first_bad = -1;      // index of the first sum that is NaN or infinite; -1 when there is none
};

// The result does not depend on num_threads. When a sum is not finite, or more than max_count words would be sent,
// nothing is: `words` is empty, and every residual holds residual + grad, but for sums that are not finite, whose
// residuals stay as they are. (To restore the old residuals one would have to read all sums before the first is
// stored.) The same holds where std::bad_alloc is thrown.
// Throws std::invalid_argument, with nothing changed, for sizes that differ or exceed 2^30 and for views that overlap.
GtcEncoded GtcEncode(Span<const float> grad, Span<float> residual, float tau, int64_t max_count, int num_threads);

}  // namespace pyasr
