// The step against plain loops in double, and what does not change its bits; counts allocations.
#include "lstm/streaming.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <tuple>
#include <vector>

#include "tests/test.h"

static std::atomic<int64_t> allocations{0};

void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size ? size : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {  // of std::stable_sort
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size ? size : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace pyasr {
namespace {

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kBf16, Precision::kInt8};

struct Random {
  uint32_t state = 1;
  float operator()() {  // in [-1, 1)
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / 8388608.0f - 1;
  }
};

// A network of two layers with an output layer.
struct Network {
  int64_t inputs, hidden, outputs;
  std::vector<std::vector<float>> values;

  Network(int64_t d, int64_t h, int64_t s) : inputs(d), hidden(h), outputs(s) {
    Random random;
    for (const int64_t size : {4 * h * d, 4 * h * h, 4 * h, 4 * h, 4 * h * h, 4 * h * h, 4 * h, 4 * h, s * h, s}) {
      values.emplace_back(size);
      for (float& value : values.back()) value = random() / 2;
    }
  }
  MatrixView<const float> Matrix(int i, int64_t cols) const {
    return {values[i].data(), static_cast<int64_t>(values[i].size()) / cols, cols, cols};
  }
  Span<const float> Bias(int i) const { return {values[i].data(), static_cast<int64_t>(values[i].size())}; }
  std::vector<LstmWeights> Layers() const {
    return {{Matrix(0, inputs), Matrix(1, hidden), Bias(2), Bias(3)},
            {Matrix(4, hidden), Matrix(5, hidden), Bias(6), Bias(7)}};
  }
  std::unique_ptr<StreamingLstm> Pack(Precision precision) const {
    const LinearWeights output{Matrix(8, hidden), Bias(9)};
    return std::make_unique<StreamingLstm>(Layers(), &output, precision);
  }
};

struct Run {
  std::vector<float> y, h, c;
  bool operator==(const Run& other) const { return y == other.y && h == other.h && c == other.c; }
};

// Feeds x (N, T, D) in calls of at most `frames` frames.
Run Feed(StreamingLstm& lstm, const std::vector<float>& x, int64_t streams, int64_t frames, int threads) {
  const int64_t d = lstm.input_size(), h = lstm.hidden_size(), s = lstm.output_size(), layers = lstm.num_layers();
  const int64_t total = static_cast<int64_t>(x.size()) / d / streams;
  Run run{std::vector<float>(streams * total * s), std::vector<float>(layers * streams * h),
          std::vector<float>(layers * streams * h)};
  for (int64_t begin = 0; begin < total; begin += frames) {
    const int64_t count = std::min(frames, total - begin);
    std::vector<float> part(streams * count * d), y(streams * count * s);
    for (int64_t n = 0; n < streams; ++n) {
      std::copy_n(x.data() + (n * total + begin) * d, count * d, part.data() + n * count * d);
    }
    lstm.Step({part.data(), streams, count, d}, {run.h.data(), layers, streams, h}, {run.c.data(), layers, streams, h},
              {y.data(), streams, count, s}, threads);
    for (int64_t n = 0; n < streams; ++n) {
      std::copy_n(y.data() + n * count * s, count * s, run.y.data() + (n * total + begin) * s);
    }
  }
  return run;
}

std::vector<float> Frames(int64_t size) {
  Random random{7};
  std::vector<float> x(size);
  for (float& value : x) value = 2 * random();
  return x;
}

// Log-probabilities of one stream, in double.
std::vector<double> Exact(const Network& network, const std::vector<float>& x) {
  const int64_t frames = static_cast<int64_t>(x.size()) / network.inputs, units = network.hidden;
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const auto dot = [](const float* w, const std::vector<double>& v) {
    double sum = 0;
    for (size_t k = 0; k < v.size(); ++k) sum += w[k] * v[k];
    return sum;
  };
  std::vector<std::vector<double>> h(2, std::vector<double>(units)), c = h;
  std::vector<double> y;
  for (int64_t t = 0; t < frames; ++t) {
    std::vector<double> in(x.begin() + t * network.inputs, x.begin() + (t + 1) * network.inputs);
    for (int l = 0; l < 2; ++l) {
      std::vector<double> out(units);
      for (int64_t u = 0; u < units; ++u) {
        double z[4];
        for (int g = 0; g < 4; ++g) {
          const int64_t row = g * units + u;
          z[g] = dot(network.values[4 * l].data() + row * static_cast<int64_t>(in.size()), in) +
                 dot(network.values[4 * l + 1].data() + row * units, h[l]) + network.values[4 * l + 2][row] +
                 network.values[4 * l + 3][row];
        }
        c[l][u] = sigmoid(z[1]) * c[l][u] + sigmoid(z[0]) * std::tanh(z[2]);
        out[u] = sigmoid(z[3]) * std::tanh(c[l][u]);
      }
      in = h[l] = out;
    }
    std::vector<double> logits;
    double sum = 0;
    for (int64_t s = 0; s < network.outputs; ++s) {
      logits.push_back(dot(network.values[8].data() + s * units, in) + network.values[9][s]);
      sum += std::exp(logits.back());
    }
    for (const double logit : logits) y.push_back(logit - std::log(sum));
  }
  return y;
}

TEST(StreamingStepsAreThoseOfPlainLoops) {
  for (const auto& [d, h, s] : {std::tuple{1, 1, 1}, {7, 5, 3}, {40, 33, 97}}) {
    const Network network(d, h, s);
    const std::vector<float> x = Frames(9 * d);
    const std::vector<double> exact = Exact(network, x);
    for (const Precision precision : kPrecisions) {
      const double budget = precision == Precision::kFp32 ? 5e-6 : 0.05;
      const Run run = Feed(*network.Pack(precision), x, 1, 4, 1);
      for (size_t i = 0; i < exact.size(); ++i) EXPECT(std::abs(run.y[i] - exact[i]) < budget);
    }
  }
}

TEST(StreamingBitsDependNeitherOnThreadsNorOnCompany) {
  const Network network(24, 70, 150);
  const int64_t streams = 9, frames = 19, d = 24, s = 150;
  const std::vector<float> x = Frames(streams * frames * d);
  for (const Precision precision : kPrecisions) {
    const auto lstm = network.Pack(precision);
    const Run all = Feed(*lstm, x, streams, frames, 1);
    for (const int64_t part : {1, 2, 7}) EXPECT(Feed(*lstm, x, streams, part, 1) == all);
    for (const int threads : {2, 5}) EXPECT(Feed(*lstm, x, streams, frames, threads) == all);
    for (int64_t n = 0; n < streams; ++n) {
      const std::vector<float> own(x.begin() + n * frames * d, x.begin() + (n + 1) * frames * d);
      const Run alone = Feed(*lstm, own, 1, 3, 1);
      EXPECT(std::equal(alone.y.begin(), alone.y.end(), all.y.begin() + n * frames * s));
    }
  }
}

TEST(StreamingAllocatesNothingAfterTheFirstCall) {
  const Network network(24, 70, 150);
  const std::vector<float> x = Frames(2 * 5 * 24);
  std::vector<float> h(2 * 2 * 70), c(h.size()), y(2 * 5 * 150);
  for (const Precision precision : kPrecisions) {
    const auto lstm = network.Pack(precision);
    const auto step = [&] {
      lstm->Step({x.data(), 2, 5, 24}, {h.data(), 2, 2, 70}, {c.data(), 2, 2, 70}, {y.data(), 2, 5, 150}, 1);
    };
    step();
    const int64_t before = allocations.load();
    for (int repeat = 0; repeat < 3; ++repeat) step();
    const int64_t after = allocations.load();
    EXPECT(after == before);
  }
}

TEST(StreamingRefusesWhatDoesNotFit) {
  const Network network(24, 70, 150);
  const auto lstm = network.Pack(Precision::kInt8);
  std::vector<float> x = Frames(2 * 3 * 24), h(2 * 2 * 70, 0.5f), c(h), y(2 * 3 * 150, 1.0f);
  const auto step = [&](int64_t n, int64_t d, int64_t rows, int64_t s, int threads) {
    return pyasr_test::Throws([&] {
      lstm->Step({x.data(), n, 3, d}, {h.data(), 2, rows, 70}, {c.data(), 2, rows, 70}, {y.data(), n, 3, s}, threads);
    });
  };
  EXPECT(step(2, 23, 2, 150, 1) && step(1, 24, 2, 150, 1) && step(2, 24, 2, 149, 1) && step(2, 24, 2, 150, 0));
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (float* place : {&x[100], &h[33], &c[270]}) {
      const float good = *place;
      *place = bad;
      EXPECT(step(2, 24, 2, 150, 1));
      *place = good;
    }
  }
  EXPECT(h == c && y == std::vector<float>(y.size(), 1.0f));  // nothing was written
  EXPECT(!step(2, 24, 2, 150, 1));
  EXPECT(h != c);
}

}  // namespace
}  // namespace pyasr
