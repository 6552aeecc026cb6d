#include "hmm/lattice_cuda.h"

#include <cfloat>

#include "base/cuda_check.h"
#include "hmm/lattice.h"
#include "hmm/lattice_forward_backward.h"

namespace pyasr {
namespace {

constexpr int kThreads = 256;
constexpr double kLog2 = 0.693147180559945309417;

// As in lattice_passes.isa.cc.
constexpr int32_t kExponentOfZero = -(1 << 30);
constexpr int64_t kExponentOfNothing = -(int64_t{1} << 62);

struct Scratch {  // of one lattice
  double* mass;
  double* value;
  int64_t* exponent;
  double* end_posterior;
  double* mantissa;  // e^w of arcs; then their gradients
  int64_t* arc_exponent;
};

__device__ double PowerOfTwo(int64_t n) { return n < -1023 ? 0.0 : __longlong_as_double((n + 1023) << 52); }

// The same for all threads, whatever their number is added up in: always the same order.
template <typename T, typename F>
__device__ T Reduce(T x, const F& both) {
  __shared__ T parts[kThreads];
  parts[threadIdx.x] = x;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) parts[threadIdx.x] = both(parts[threadIdx.x], parts[threadIdx.x + half]);
  }
  __syncthreads();
  const T result = parts[0];
  __syncthreads();
  return result;
}

struct Max {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Add {
  __device__ double operator()(double a, double b) const { return a + b; }
};

__device__ void ForwardState(const LatticeBatch& batch, int64_t first_state, int64_t first_arc, int64_t b, int s,
                             const float* values, const Scratch& states) {
  double mass = 0, value = 0;
  int64_t exponent = kExponentOfNothing;
  const int32_t* const in_begin = batch.in_begin + first_state + b;
  for (int i = in_begin[s]; i < in_begin[s + 1]; ++i) {
    const int a = batch.in_arc[first_arc + i], source = batch.arc_src[first_arc + a];
    const int64_t arc_exponent = states.exponent[source] + states.arc_exponent[a];
    const int64_t highest = Max()(arc_exponent, exponent);
    const double keep = PowerOfTwo(exponent - highest);
    const double arc_mass = states.mass[source] * states.mantissa[a] * PowerOfTwo(arc_exponent - highest);
    mass = mass * keep + arc_mass;
    value = value * keep + arc_mass * (states.value[source] + values[a]);
    exponent = highest;
  }
  if (mass > 0) {
    value /= mass;
    const int64_t bits = __double_as_longlong(mass), shift = (bits >> 52) - 1023;
    exponent += shift;
    mass = __longlong_as_double(bits - (shift << 52));
  }
  states.mass[s] = mass;
  states.value[s] = value;
  states.exponent[s] = exponent;
}

__device__ void BackwardState(const LatticeBatch& batch, int64_t first_state, int64_t first_arc, int64_t b, int s,
                              const float* values, double expected, const Scratch& states, double* posteriors) {
  const double mass = states.mass[s], value = states.value[s];
  const int64_t exponent = states.exponent[s];
  double gamma = states.end_posterior[s], y = 0;
  const int32_t* const out_begin = batch.out_begin + first_state + b;
  for (int a = out_begin[s + 1] - 1; a >= out_begin[s]; --a) {
    const int dst = batch.arc_dst[first_arc + a];
    const double q = mass * states.mantissa[a] * PowerOfTwo(exponent + states.arc_exponent[a] - states.exponent[dst]);
    const double arc_gamma = q * states.mass[dst], arc_y = q * states.value[dst] + arc_gamma * values[a];
    posteriors[a] = arc_gamma;
    states.mantissa[a] = arc_gamma * (value - expected) + arc_y;
    gamma += arc_gamma;
    y += arc_y;
  }
  const double inverse = mass > 0 ? 1 / mass : 0.0;
  states.mass[s] = gamma * inverse;
  states.value[s] = y * inverse;
}

__global__ void __launch_bounds__(kThreads)
    ForwardBackward(LatticeBatch batch, const float* __restrict__ loglikes, int64_t utterance_stride,
                    int64_t frame_stride, double scale, const float* __restrict__ all_values, double* scratch,
                    int64_t num_states, int64_t num_arcs, double* log_totals, double* expecteds, double* all_posteriors,
                    double* all_gradients, int64_t* status) {
  const int64_t b = blockIdx.x, first_state = batch.state_offset[b], first_arc = batch.arc_offset[b];
  const int states = static_cast<int>(batch.state_offset[b + 1] - first_state);
  const int arcs = static_cast<int>(batch.arc_offset[b + 1] - first_arc);
  const float* const values = all_values + first_arc;
  const float* const final_cost = batch.final_cost + first_state;
  double* const posteriors = all_posteriors + first_arc;
  const Scratch own{scratch + first_state,
                    scratch + num_states + first_state,
                    reinterpret_cast<int64_t*>(scratch + 2 * num_states) + first_state,
                    scratch + 3 * num_states + first_state,
                    scratch + 4 * num_states + first_arc,
                    reinterpret_cast<int64_t*>(scratch + 4 * num_states + num_arcs) + first_arc};

  // e^w = mantissa 2^exponent of all arcs, and the first reason to refuse one.
  int64_t reason = INT64_MIN;  // negated, for a maximum
  for (int a = threadIdx.x; a < arcs; a += kThreads) {
    const int senone = batch.arc_senone[first_arc + a];
    double loglike = 0;
    if (senone != kNoSenone) {
      loglike = loglikes[b * utterance_stride + batch.arc_time[first_arc + a] * frame_stride + senone];
    }
    const double score = scale * loglike - batch.arc_cost[first_arc + a];
    if (!isfinite(values[a])) reason = Max()(reason, -(kLatticeBadValue << 32 | a));
    if (score >= -kMaxArcScore && score <= kMaxArcScore) {
      const double k = rint(score * 1.4426950408889634);
      const double rest = fma(k, -1.90821492927058770002e-10, fma(k, -6.93147180369123816490e-01, score));
      own.mantissa[a] = exp(rest);
      own.arc_exponent[a] = static_cast<int64_t>(k);
    } else {
      if (!(score == -INFINITY)) reason = Max()(reason, -(kLatticeBadScore << 32 | a));
      own.mantissa[a] = 0;
      own.arc_exponent[a] = kExponentOfZero;
    }
  }
  reason = Reduce(reason, Max());
  const auto refuse = [&](int64_t why) {
    for (int a = threadIdx.x; a < arcs; a += kThreads) posteriors[a] = NAN;
    for (int64_t g = batch.pair_offset[b] + threadIdx.x; g < batch.pair_offset[b + 1]; g += kThreads) {
      all_gradients[g] = NAN;
    }
    if (threadIdx.x == 0) status[b] = why, log_totals[b] = NAN, expecteds[b] = NAN;
  };
  if (reason != INT64_MIN) return refuse(-reason);  // the same for all threads

  const int32_t* const order = batch.state + first_state;
  const int32_t* const level_begin = batch.level_begin + batch.level_offset[b] + b;
  const int levels = static_cast<int>(batch.level_offset[b + 1] - batch.level_offset[b]);
  if (threadIdx.x == 0) own.mass[0] = 1, own.value[0] = 0, own.exponent[0] = 0;
  __syncthreads();
  for (int level = 1; level < levels; ++level) {
    for (int i = level_begin[level] + static_cast<int>(threadIdx.x); i < level_begin[level + 1]; i += kThreads) {
      ForwardState(batch, first_state, first_arc, b, order[i], values, own);
    }
    __syncthreads();
  }

  // log Z and E, relative to the highest exponent, as EndPaths does.
  const auto ends_in = [&](int s) { return final_cost[s] < INFINITY && own.mass[s] > 0; };
  int64_t highest = INT64_MIN;
  for (int s = threadIdx.x; s < states; s += kThreads) {
    if (ends_in(s)) highest = Max()(highest, own.exponent[s]);
  }
  highest = Reduce(highest, Max());
  if (highest == INT64_MIN) return refuse(kLatticeForbidden << 32);
  double best = -INFINITY;
  for (int s = threadIdx.x; s < states; s += kThreads) {
    double score = -INFINITY;
    if (ends_in(s)) score = static_cast<double>(own.exponent[s] - highest) * kLog2 + log(own.mass[s]) - final_cost[s];
    own.end_posterior[s] = score;
    best = Max()(best, score);
  }
  best = Reduce(best, Max());
  double total = 0;
  for (int s = threadIdx.x; s < states; s += kThreads) total += exp(own.end_posterior[s] - best);
  const double log_total = best + log(Reduce(total, Add()));
  double part = 0;
  for (int s = threadIdx.x; s < states; s += kThreads) {
    const double posterior = exp(own.end_posterior[s] - log_total);
    own.end_posterior[s] = posterior;
    if (posterior > 0) part += posterior * own.value[s];
  }
  const double expected = Reduce(part, Add());
  if (threadIdx.x == 0) {
    log_totals[b] = static_cast<double>(highest) * kLog2 + log_total;
    expecteds[b] = expected;
    status[b] = 0;
  }

  for (int level = levels - 1; level >= 0; --level) {
    for (int i = level_begin[level] + static_cast<int>(threadIdx.x); i < level_begin[level + 1]; i += kThreads) {
      BackwardState(batch, first_state, first_arc, b, order[i], values, expected, own, posteriors);
    }
    __syncthreads();
  }
  const int pairs = static_cast<int>(batch.pair_offset[b + 1] - batch.pair_offset[b]);
  const int32_t* const pair_begin = batch.pair_begin + batch.pair_offset[b] + b;
  const int32_t* const pair_arc = batch.pair_arc + batch.pair_arc_offset[b];
  for (int g = threadIdx.x; g < pairs; g += kThreads) {
    double sum = 0;
    for (int i = pair_begin[g]; i < pair_begin[g + 1]; ++i) sum += own.mantissa[pair_arc[i]];
    all_gradients[batch.pair_offset[b] + g] = sum;
  }
}

}  // namespace

void LatticeForwardBackwardCuda(const LatticeBatch& batch, const float* loglikes, int64_t utterance_stride,
                                int64_t frame_stride, double scale, const float* values, double* scratch,
                                int64_t num_states, int64_t num_arcs, double* log_total, double* expected,
                                double* posteriors, double* gradient, int64_t* status, CudaStream stream) {
  if (batch.size == 0) return;
  ForwardBackward<<<static_cast<unsigned>(batch.size), kThreads, 0, stream>>>(
      batch, loglikes, utterance_stride, frame_stride, scale, values, scratch, num_states, num_arcs, log_total,
      expected, posteriors, gradient, status);
  CheckLaunch("lattice forward-backward");
}

}  // namespace pyasr
