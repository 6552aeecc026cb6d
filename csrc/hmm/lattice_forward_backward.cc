#include "hmm/lattice_forward_backward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>

#include "base/check.h"
#include "base/parallel_for.h"
#include "hmm/check_lattice.h"
#include "hmm/lattice_passes.h"

namespace pyasr {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLog2 = 0.693147180559945309417;

// How far the sums over a frame may be from 1 and 0: roundings make it about 1e-16 a frame.
constexpr double kTolerance = 1e-9;

// Scratch that is written before it is read: nothing is set to 0.
template <typename T>
std::unique_ptr<T[]> Uninitialised(int64_t size) {
  return std::unique_ptr<T[]>(new T[size]);
}

double CheckValues(Span<const float> values) {
  double highest = 0;
  for (int64_t a = 0; a < values.size; ++a) {
    PYASR_CHECK(std::isfinite(values[a]), "value of arc ", a, " is ", values[a]);
    highest = std::max(highest, std::abs(static_cast<double>(values[a])));
  }
  return highest;
}

void FailForScore(const Lattice& lattice, MatrixView<const float> loglikes, double scale, int64_t a) {
  if (lattice.arc_senone[a] == kNoSenone) {
    Fail("score of arc ", a, " is ", -lattice.arc_cost[a], ", beyond +-", kMaxArcScore);
  }
  const float loglike = loglikes.row(lattice.arc_time[a])[lattice.arc_senone[a]];
  PYASR_CHECK(loglike < kInfinity, "log-likelihood of frame ", lattice.arc_time[a], ", senone ", lattice.arc_senone[a],
              " is ", loglike);
  Fail("score of arc ", a, " is ", scale * loglike - lattice.arc_cost[a], ", beyond +-", kMaxArcScore);
}

// log Z and E, and P(pi ends in s) for all states.
void EndPaths(const Lattice& lattice, const LatticeState* states, double* end_posteriors, LatticePosteriors* result) {
  const int64_t num_states = lattice.final_cost.size;
  // Relative to the highest exponent, for logarithms lose digits of large numbers.
  int64_t highest = std::numeric_limits<int64_t>::min();
  for (int64_t s = 0; s < num_states; ++s) {
    if (lattice.final_cost[s] < kInfinity && states[s].mass > 0) highest = std::max(highest, states[s].exponent);
  }
  double best = -kInfinity;
  for (int64_t s = 0; s < num_states; ++s) {
    end_posteriors[s] = -kInfinity;
    if (lattice.final_cost[s] < kInfinity && states[s].mass > 0) {
      const double exponent = static_cast<double>(states[s].exponent - highest);
      end_posteriors[s] = exponent * kLog2 + std::log(states[s].mass) - lattice.final_cost[s];
    }
    best = std::max(best, end_posteriors[s]);
  }
  PYASR_CHECK(best > -kInfinity, "log-likelihoods of -inf forbid every path");
  double total = 0;
  for (int64_t s = 0; s < num_states; ++s) {
    if (end_posteriors[s] > -kInfinity) total += std::exp(end_posteriors[s] - best);
  }
  const double log_total = best + std::log(total);
  for (int64_t s = 0; s < num_states; ++s) {
    end_posteriors[s] = end_posteriors[s] > -kInfinity ? std::exp(end_posteriors[s] - log_total) : 0.0;
    result->expected += end_posteriors[s] * states[s].value;
  }
  result->log_total = static_cast<double>(highest) * kLog2 + log_total;
}

// The sums over the arcs of a frame.
class FrameSums {
 public:
  explicit FrameSums(double gradient_tolerance) : gradient_tolerance_(gradient_tolerance) {}

  void Add(double posterior, double gradient) {
    posterior_ += posterior;
    gradient_ += gradient;
  }

  // For the frame that ends here; then for the next one.
  void Check(int64_t frame) {
    const bool one = std::abs(posterior_ - 1) <= kTolerance, zero = std::abs(gradient_) <= gradient_tolerance_;
    if (!one || !zero) {
      throw std::runtime_error("posteriors of frame " + std::to_string(frame) + " sum to " +
                               std::to_string(posterior_) + ", their gradients to " + std::to_string(gradient_) +
                               ": a bug in the lattice forward-backward");
    }
    posterior_ = gradient_ = 0;
  }

 private:
  double gradient_tolerance_;
  double posterior_ = 0, gradient_ = 0;
};

// Sums the arcs' gradients by frame and senone, in place: `gradient` (A,) and `senones` (A,) hold the sums at their
// beginning then, and are not read behind it. Arcs come in the order of frames, so the place of a senone is one of this
// frame when it is not before the frame's first. No branch foresees which senones come again: none is taken.
void SumBySenone(const Lattice& lattice, const double* posteriors, int64_t num_senones, double gradient_tolerance,
                 double* gradient, int32_t* senones, LatticePosteriors* result) {
  std::vector<int64_t> places(num_senones, -1);
  FrameSums frame_sums(gradient_tolerance);
  int64_t size = 0, first = 0;
  int32_t frame = 0;
  const auto end_frame = [&] {
    frame_sums.Check(frame);
    result->frame.insert(result->frame.end(), size - first, frame++);
    first = size;
  };
  for (int64_t a = 0; a < lattice.arc_src.size; ++a) {
    const int32_t senone = lattice.arc_senone[a];
    if (senone == kNoSenone) continue;
    if (lattice.arc_time[a] != frame) end_frame();
    frame_sums.Add(posteriors[a], gradient[a]);
    const bool is_new = places[senone] < first;
    const int64_t place = is_new ? size : places[senone];
    const double before = is_new ? 0.0 : gradient[place];
    gradient[place] = before + gradient[a];
    senones[place] = senone;
    places[senone] = place;
    size += is_new;
  }
  if (size > 0) end_frame();
  result->senone.assign(senones, senones + size);
  result->gradient.assign(gradient, gradient + size);
}

}  // namespace

LatticePosteriors LatticeForwardBackward(const Lattice& lattice, MatrixView<const float> loglikes, double scale,
                                         Span<const float> values, Span<double> posteriors) {
  PYASR_CHECK(std::isfinite(scale) && scale > 0, "acoustic scale is ", scale);
  CheckLattice(lattice, loglikes.rows, loglikes.cols);
  const int64_t num_arcs = lattice.arc_src.size, num_states = lattice.final_cost.size;
  PYASR_CHECK_EQ(values.size, num_arcs, "number of values against arcs");
  PYASR_CHECK_EQ(posteriors.size, num_arcs, "number of posteriors against arcs");
  // No path has more arcs than there are frames and arcs without one.
  const int64_t without_frame = std::count(lattice.arc_senone.begin(), lattice.arc_senone.end(), kNoSenone);
  const double highest_value = CheckValues(values) * static_cast<double>(loglikes.rows + without_frame);

  const int64_t room = (num_arcs + kExpBlock - 1) / kExpBlock * kExpBlock;
  const auto mantissa = Uninitialised<double>(room);
  const auto exponent = Uninitialised<int32_t>(room);
  const auto states = Uninitialised<LatticeState>(num_states);
  const auto end_posteriors = Uninitialised<double>(num_states);
  const ArcWeights weights{mantissa.get(), exponent.get()};

  LatticePosteriors result;
  const int64_t bad = PYASR_FOR_ISA(WeighArcs)(lattice, loglikes, scale, kMaxArcScore, weights);
  if (bad >= 0) FailForScore(lattice, loglikes, scale, bad);
  PYASR_FOR_ISA(ForwardPass)(lattice, weights, values.data, states.get());
  EndPaths(lattice, states.get(), end_posteriors.get(), &result);
  // What is left of the weights is of no more use: the gradient takes their place.
  PYASR_FOR_ISA(BackwardPass)
  (lattice, weights, values.data, result.expected, end_posteriors.get(), states.get(), posteriors.data,
   mantissa.get());
  SumBySenone(lattice, posteriors.data, loglikes.cols, kTolerance * (1 + highest_value), mantissa.get(),
              exponent.get(), &result);
  return result;
}

std::vector<LatticePosteriors> LatticeForwardBackwardBatch(const std::vector<Lattice>& lattices,
                                                           const std::vector<MatrixView<const float>>& loglikes,
                                                           double scale, const std::vector<Span<const float>>& values,
                                                           const std::vector<Span<double>>& posteriors,
                                                           int num_threads) {
  PYASR_CHECK_EQ(loglikes.size(), lattices.size(), "number of log-likelihood matrices against lattices");
  PYASR_CHECK_EQ(values.size(), lattices.size(), "number of lists of values against lattices");
  PYASR_CHECK_EQ(posteriors.size(), lattices.size(), "number of lists of posteriors against lattices");
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  std::vector<LatticePosteriors> results(lattices.size());
  ParallelFor(static_cast<int64_t>(lattices.size()), num_threads, [&](int64_t i) {
    const auto named = [i](const std::exception& error) {
      return "lattice " + std::to_string(i) + ": " + error.what();
    };
    try {
      results[i] = LatticeForwardBackward(lattices[i], loglikes[i], scale, values[i], posteriors[i]);
    } catch (const LatticeError& error) {
      throw LatticeError(named(error));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(named(error));
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(named(error));
    }
  });
  return results;
}

}  // namespace pyasr
