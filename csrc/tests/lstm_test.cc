#include "lstm/lstm.h"

#include <cmath>
#include <vector>

#include "tests/test.h"

namespace {

using Floats = std::vector<float>;

Floats Numbers(int64_t size, uint32_t seed) {
  Floats numbers(size);
  for (float& number : numbers) {
    seed = seed * 1664525u + 1013904223u;
    number = static_cast<float>(seed >> 8) / 16777216.0f - 0.5f;
  }
  return numbers;
}

// Both passes over tensors of their own; results are compared bit by bit.
struct Layer {
  pyasr::LstmShape shape;
  std::vector<int64_t> lengths;
  Floats output, last_state, last_cell, gates, cells, d_projected, d_first_cell;

  Layer(const pyasr::LstmShape& s, std::vector<int64_t> ends, int threads, bool save = true)
      : shape(s), lengths(std::move(ends)) {
    const auto [T, N, H, D] = shape;
    const Floats projected = Numbers(D * T * N * 4 * H, 1), weights = Numbers(D * 4 * H * H, 2);
    const Floats state = Numbers(D * N * H, 3), cell = Numbers(D * N * H, 4);
    output.resize(T * N * D * H), last_state.resize(D * N * H), last_cell.resize(D * N * H);
    if (save) gates.resize(D * T * N * 4 * H), cells.resize(D * T * N * H);
    std::vector<pyasr::LstmForwardDirection> forward;
    for (int64_t d = 0; d < D; ++d) {
      forward.push_back({&projected[d * T * N * 4 * H], &weights[d * 4 * H * H], &state[d * N * H], &cell[d * N * H],
                         &output[d * H], &last_state[d * N * H], &last_cell[d * N * H],
                         save ? &gates[d * T * N * 4 * H] : nullptr, save ? &cells[d * T * N * H] : nullptr});
    }
    pyasr::LstmForward(shape, Ends(), forward.data(), threads);
    if (!save) return;
    const Floats d_output = Numbers(T * N * D * H, 5), d_state = Numbers(D * N * H, 6), d_cell = Numbers(D * N * H, 7);
    d_projected.resize(D * T * N * 4 * H), d_first_cell.resize(D * N * H);
    std::vector<pyasr::LstmBackwardDirection> backward;
    for (int64_t d = 0; d < D; ++d) {
      backward.push_back({&weights[d * 4 * H * H], &cell[d * N * H], &gates[d * T * N * 4 * H], &cells[d * T * N * H],
                          &d_output[d * H], &d_state[d * N * H], &d_cell[d * N * H], &d_projected[d * T * N * 4 * H],
                          &d_first_cell[d * N * H]});
    }
    pyasr::LstmBackward(shape, Ends(), backward.data(), threads);
  }

  pyasr::Span<const int64_t> Ends() const { return {lengths.data(), static_cast<int64_t>(lengths.size())}; }
};

}  // namespace

TEST(LstmOfOneUnitAndFrame) {
  const float projected[] = {0.5f, -1.0f, 2.0f, 0.25f}, weight[] = {1.0f, 2.0f, -1.0f, 0.5f};
  const float state = 0.5f, cell = -2.0f;
  float output, last_state, last_cell;
  const int64_t length = 1;
  const pyasr::LstmForwardDirection direction{projected, weight,      &state,     &cell,  &output,
                                              &last_state, &last_cell, nullptr, nullptr};
  pyasr::LstmForward({1, 1, 1, 1}, {&length, 1}, &direction, 1);
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double c = sigmoid(-1.0 + 1.0) * -2 + sigmoid(0.5 + 0.5) * std::tanh(2.0 - 0.5);
  EXPECT(std::abs(last_cell - c) < 1e-6);
  EXPECT(std::abs(output - sigmoid(0.25 + 0.25) * std::tanh(c)) < 1e-6 && last_state == output);
}

TEST(LstmDoesNotDependOnThreads) {
  for (int64_t directions : {1, 2}) {
    for (int64_t units : {7, 97, 200}) {
      const pyasr::LstmShape shape{5, 8, units, directions};
      const std::vector<int64_t> lengths{5, 0, 3, 5, 1, 2, 4, 5};
      const Layer one(shape, lengths, 1);
      for (int threads : {2, 3, 4}) {
        const Layer many(shape, lengths, threads);
        EXPECT(one.output == many.output && one.last_state == many.last_state && one.last_cell == many.last_cell);
        EXPECT(one.d_projected == many.d_projected && one.d_first_cell == many.d_first_cell);
      }
      const Layer only_output(shape, lengths, 2, false);
      EXPECT(one.output == only_output.output && one.last_state == only_output.last_state);
      EXPECT(one.last_cell == only_output.last_cell);
    }
  }
}

TEST(LstmGivesZerosBehindTheEnds) {
  const Layer layer({5, 3, 17, 2}, {5, 0, 2}, 2);
  const auto [T, N, H, D] = layer.shape;
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t n = 0; n < N; ++n) {
      const bool inside = t < layer.lengths[n];
      for (int64_t i = 0; i < D * H; ++i) EXPECT((layer.output[(t * N + n) * D * H + i] != 0) == inside);
      for (int64_t i = 0; i < 4 * H; ++i) EXPECT((layer.d_projected[(t * N + n) * 4 * H + i] != 0) == inside);
    }
  }
}

TEST(LstmRefusesBadLengths) {
  for (const std::vector<int64_t>& lengths : std::vector<std::vector<int64_t>>{{3, 1}, {-1, 1}, {2}, {2, 2, 2}}) {
    EXPECT(pyasr_test::Throws([&] { Layer({2, 2, 3, 1}, lengths, 1); }));
  }
  EXPECT(pyasr_test::Throws([] { Layer({2, 2, 3, 1}, {2, 2}, 0); }));
}
