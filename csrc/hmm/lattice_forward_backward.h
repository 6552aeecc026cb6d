// Posteriors of a lattice's arcs, and the expected value of a path with its gradient: the kernel under sMBR.
//
// The score of arc a is  w(a) = scale * loglike[time(a), senone(a)] - cost(a)  (without a senone: -cost(a)), that of a
// path pi the sum over its arcs minus the cost of its final state; P(pi) = exp(score) / Z, Z the sum over all paths.
// With a value r(a) for each arc (sMBR: 1 where the senone is the reference's), wanted are
//
//   log Z,   gamma(a) = P(a in pi),   E = sum over pi of P(pi) r(pi),   dE/dw(a) = gamma(a) (c(a) - E)
//
// where c(a) is the mean value of the paths through a. (Povey's thesis, 2003, chapter 6, for MPE; Vesely et al.,
// Interspeech 2013, for sMBR.) Naively: from all paths, as pyasr/ops/reference.py does. By the usual recursions in the
// log domain: alpha(s) over the paths into s, beta(s) over those out of it, their mean values V(s) and U(s); then
// gamma(a) = exp(alpha(src) + w + beta(dst) - log Z) and c(a) = V(src) + r + U(dst): three exponentials an arc, two
// logarithms a state.
//
// One exponential an arc is enough. Let q(a) = P(a | pi passes dst(a)) = alpha(src) e^w / alpha(dst), not in logs. A
// path, followed from its end, takes the arcs with these probabilities, so with gamma(s) = P(s in pi):
//
//   V(s)   = sum over arcs a into s of    q(a) (V(src) + r(a))
//   gamma(a) = gamma(dst) q(a),           gamma(s) = sum over arcs a out of s of gamma(a)  (+ P(pi ends in s))
//   Y(a)   = q(a) Y(dst) + gamma(a) r(a), Y(s)     = sum over arcs a out of s of Y(a)        (Y = gamma U, no division)
//   dE/dw(a) = gamma(a) (V(src) - E) + Y(a)
//
// The numbers of the second pass are probabilities and what they are multiplied with: nothing overflows, and what
// underflows is 0 to any accuracy. alpha(s) is kept as m 2^k, 1 <= m < 2, k an integer of 64 bits, and e^w likewise:
// the range of the log domain, and a relative error of a few roundings a frame where logarithms of 10^4 keep 12 digits.
//
// All sums are float64, in the order of the arcs. Checked of every frame before anything is returned: the posteriors of
// its arcs sum to 1, their gradients to 0. (So the gradient with respect to logits, through log-softmax, is the same.)
//
// Time: O(arcs). Bytes an arc: 24 read, 4 gathered from the log-likelihoods (a cache line of their frame's row), 12
// written and read twice for m and k of e^w, 8 written for its posterior and 8 for its gradient, read once more: about
// 90, so 10 ns at 9 GB/s; the arithmetic is some 60 scalar operations on a chain that leads through memory.
#pragma once

#include <cstdint>
#include <vector>

#include "base/span.h"
#include "hmm/lattice.h"

namespace pyasr {

// The highest score of an arc, and the lowest but for -inf, which forbids it.
constexpr double kMaxArcScore = 1e5;

struct LatticePosteriors {
  double log_total = 0;  // log Z
  double expected = 0;   // E
  // The gradient dE / d(scale * loglike[frame, senone]): each pair once, in the order of frames.
  std::vector<int32_t> frame, senone;
  std::vector<double> gradient;
};

// loglikes (T, S); values, posteriors (A,), values finite.
// Throws LatticeError (check_lattice.h) for a lattice that is damaged or has other frames or senones; of the numbers
// std::invalid_argument for a score of NaN, +inf or beyond kMaxArcScore (-inf forbids an arc) and when no path is left.
LatticePosteriors LatticeForwardBackward(const Lattice& lattice, MatrixView<const float> loglikes, double scale,
                                         Span<const float> values, Span<double> posteriors);

// The same for many lattices, on `num_threads` threads; an error names the lowest lattice it is about.
std::vector<LatticePosteriors> LatticeForwardBackwardBatch(const std::vector<Lattice>& lattices,
                                                           const std::vector<MatrixView<const float>>& loglikes,
                                                           double scale, const std::vector<Span<const float>>& values,
                                                           const std::vector<Span<double>>& posteriors,
                                                           int num_threads);

}  // namespace pyasr
