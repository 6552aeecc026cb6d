#include "lstm/streaming.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <tuple>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "base/check.h"
#include "base/team.h"

namespace pyasr {
namespace {

constexpr int64_t kGates = 4;
constexpr int64_t kMaxFrames = 16;  // a step of more is done in parts, to bound the scratch
constexpr int64_t kHugePage = 2 << 20;

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

int64_t StepColumns(Precision precision) { return precision == Precision::kInt8 ? PYASR_FOR_ISA(Int8Columns)() : 1; }

int64_t StepsOf(Precision precision, int64_t columns) {
  return RoundUp(columns, StepColumns(precision)) / StepColumns(precision);
}

int64_t StepBytes(Precision precision, int64_t lanes) {
  const int64_t weight = precision == Precision::kFp32 ? 4 : precision == Precision::kBf16 ? 2 : 1;
  return weight * StepColumns(precision) * kPanelVectors * lanes;
}

uint16_t ToBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The source's row for each row of the packed panels; -1: none.
using RowOrder = std::vector<int64_t>;

RowOrder OrderOfGates(int64_t hidden_size, int64_t lanes) {
  const int64_t units = 2 * lanes;
  RowOrder order(RoundUp(hidden_size, units) * kGates);
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i), panel = row / (kGates * units);
    const int64_t gate = row % (kGates * units) / units, unit = panel * units + row % units;
    order[i] = unit < hidden_size ? gate * hidden_size + unit : -1;
  }
  return order;
}

RowOrder OrderOfOutputs(int64_t size, int64_t lanes) {
  RowOrder order(RoundUp(size, kPanelVectors * lanes), -1);
  for (int64_t row = 0; row < size; ++row) order[row] = row;
  return order;
}

// The greatest magnitude in each row; one below 1e-30 counts as 0.
std::vector<float> LargestOfRows(const MatrixView<const float>& matrix, const RowOrder& order) {
  std::vector<float> largest(order.size(), 0.0f);
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] < 0) continue;
    for (int64_t k = 0; k < matrix.cols; ++k) largest[i] = std::max(largest[i], std::fabs(matrix.row(order[i])[k]));
    if (largest[i] < 1e-30f) largest[i] = 0;
  }
  return largest;
}

// One panel, in the layout of streaming_kernel.h; the memory is zero before. int8: the largest of a row becomes 127.
void PackPanel(const MatrixView<const float>& matrix, const int64_t* order, const float* largest, Precision precision,
               int64_t lanes, uint8_t* panel) {
  const int64_t columns = StepColumns(precision), plus = columns == 4 ? 128 : 0;
  for (int64_t k = 0; k < matrix.cols; ++k) {
    for (int64_t i = 0; i < kPanelVectors * lanes; ++i) {
      if (order[i] < 0) continue;
      const float w = matrix.row(order[i])[k];
      const int64_t vector = i / lanes, lane = i % lanes;
      switch (precision) {
        case Precision::kFp32:
          reinterpret_cast<float*>(panel)[k * kPanelVectors * lanes + i] = w;
          break;
        case Precision::kBf16:
          reinterpret_cast<uint16_t*>(panel)[(k * kPanelVectors + vector / 2 * 2) * lanes + 2 * lane + vector % 2] =
              ToBf16(w);
          break;
        case Precision::kInt8:
          panel[(k / columns * kPanelVectors * lanes + i) * columns + k % columns] = static_cast<uint8_t>(
              plus + static_cast<int64_t>(largest[i] > 0 ? std::nearbyint(w * (kInt8Levels / largest[i])) : 0));
          break;
      }
    }
  }
}

bool IsFinite(const float* x, int64_t size) {
  bool finite = true;
  for (int64_t i = 0; i < size; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    finite &= (bits & 0x7f800000) != 0x7f800000;
  }
  return finite;
}

void CheckMatrix(const MatrixView<const float>& matrix, int64_t rows, int64_t cols, const char* what, int64_t layer) {
  PYASR_CHECK(matrix.rows == rows && matrix.cols == cols, "layer ", layer, ": ", what, " is (", matrix.rows, ", ",
              matrix.cols, "), not (", rows, ", ", cols, ")");
  PYASR_CHECK(cols >= 1, "layer ", layer, ": ", what, " has no columns");
  for (int64_t row = 0; row < rows; ++row) {
    PYASR_CHECK(IsFinite(matrix.row(row), cols), "layer ", layer, ": ", what, " is not finite in row ", row);
  }
}

void CheckBias(const Span<const float>& bias, int64_t rows, const char* what, int64_t layer) {
  PYASR_CHECK(bias.size == 0 || bias.size == rows, "layer ", layer, ": ", what, " has ", bias.size, " elements, not ",
              rows);
  PYASR_CHECK(IsFinite(bias.data, bias.size), "layer ", layer, ": ", what, " is not finite");
}

template <typename T>
void CheckShape(const Cube<T>& cube, int64_t n, int64_t t, int64_t k, const char* what) {
  PYASR_CHECK(cube.n == n && cube.t == t && cube.k == k, what, " is (", cube.n, ", ", cube.t, ", ", cube.k,
              "), not (", n, ", ", t, ", ", k, ")");
}

bool Overlap(const float* a, int64_t a_size, const float* b, int64_t b_size) {
  return a_size > 0 && b_size > 0 && a < b + b_size && b < a + a_size;
}

// A part of a team's work.
struct Share {
  int64_t begin, end;
};

// Where one thread of a team stands.
struct TeamMember {
  int index, size;
  Barrier& barrier;
  Share Of(int64_t n) const { return {n * index / size, n * (index + 1) / size}; }
};

}  // namespace

StreamingLstm::StreamingLstm(const std::vector<LstmWeights>& layers, const LinearWeights* output, Precision precision)
    : precision_(precision), lanes_(PYASR_FOR_ISA(Lanes)()) {
  PYASR_CHECK(!layers.empty(), "no layers");
  input_size_ = layers[0].weight_ih.cols;
  hidden_size_ = layers[0].weight_hh.cols;
  num_senones_ = output ? output->weight.rows : 0;
  PYASR_CHECK(precision != Precision::kInt8 || std::max(input_size_, hidden_size_) <= kMaxInt8Columns, "int8 takes ",
              kMaxInt8Columns, " columns at most, here are ", std::max(input_size_, hidden_size_));
  for (size_t i = 0; i < layers.size(); ++i) {
    const int64_t layer = static_cast<int64_t>(i), rows = kGates * hidden_size_;
    CheckMatrix(layers[i].weight_ih, rows, layer == 0 ? input_size_ : hidden_size_, "weight_ih", layer);
    CheckMatrix(layers[i].weight_hh, rows, hidden_size_, "weight_hh", layer);
    CheckBias(layers[i].bias_ih, rows, "bias_ih", layer);
    CheckBias(layers[i].bias_hh, rows, "bias_hh", layer);
  }
  if (output) {
    PYASR_CHECK(num_senones_ > 0, "the output layer has no outputs");
    CheckMatrix(output->weight, num_senones_, hidden_size_, "output weight", num_layers());
    CheckBias(output->bias, num_senones_, "output bias", num_layers());
  }

  const RowOrder gates = OrderOfGates(hidden_size_, lanes_), outputs = OrderOfOutputs(num_senones_, lanes_);
  const int64_t panel_rows = kPanelVectors * lanes_;
  const int64_t step_bytes = StepBytes(precision, lanes_);
  width_ = std::max(RoundUp(input_size_, lanes_), static_cast<int64_t>(gates.size()) / kGates);
  sums_width_ = static_cast<int64_t>(std::max(gates.size(), outputs.size()));

  // First the sizes, then the memory, then the weights.
  layers_.resize(layers.size());
  const auto plan = [&](const MatrixView<const float>& weight, const RowOrder& order, PackedMatrix& matrix,
                        std::vector<float>& scale) {
    matrix.steps = StepsOf(precision, weight.cols);
    if (precision != Precision::kInt8) return;
    scale = LargestOfRows(weight, order);  // until the weights are packed
    matrix.scale = scale.data();
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    Layer& layer = layers_[i];
    plan(layers[i].weight_ih, gates, layer.input, layer.input_scale);
    plan(layers[i].weight_hh, gates, layer.recurrent, layer.recurrent_scale);
    layer.panels = static_cast<int64_t>(gates.size()) / panel_rows;
    layer.bias.assign(gates.size(), 0.0f);
    for (size_t row = 0; row < gates.size(); ++row) {
      if (gates[row] < 0) continue;
      for (const auto& bias : {layers[i].bias_ih, layers[i].bias_hh}) {
        if (bias.size > 0) layer.bias[row] += bias[gates[row]];
      }
    }
    weight_bytes_ += layer.panels * (layer.input.steps + layer.recurrent.steps) * step_bytes;
  }
  if (output) {
    plan(output->weight, outputs, output_.input, output_.input_scale);
    output_.panels = static_cast<int64_t>(outputs.size()) / panel_rows;
    output_.bias.assign(outputs.size(), -std::numeric_limits<float>::infinity());  // for LogSoftmax
    for (int64_t row = 0; row < num_senones_; ++row) output_.bias[row] = output->bias.size > 0 ? output->bias[row] : 0;
    weight_bytes_ += output_.panels * output_.input.steps * step_bytes;
  }

  const int64_t allocated = RoundUp(weight_bytes_, kHugePage);
  weights_.reset(static_cast<uint8_t*>(std::aligned_alloc(kHugePage, allocated)));
  if (!weights_) throw std::bad_alloc();
#if defined(__linux__)
  madvise(weights_.get(), allocated, MADV_HUGEPAGE);  // fewer misses of the page table's cache; a wish, it may fail
#endif
  std::memset(weights_.get(), 0, allocated);
  uint8_t* next = weights_.get();
  const auto pack = [&](const MatrixView<const float>& weight, const RowOrder& order, PackedMatrix& matrix,
                        std::vector<float>& scale, int64_t offset, int64_t panel_stride) {
    matrix.data = next + offset;
    matrix.panel_stride = panel_stride;
    for (int64_t panel = 0; panel * panel_rows < static_cast<int64_t>(order.size()); ++panel) {
      PackPanel(weight, order.data() + panel * panel_rows, matrix.scale ? matrix.scale + panel * panel_rows : nullptr,
                precision, lanes_, next + offset + panel * panel_stride);
    }
    for (float& largest : scale) largest /= kInt8Levels;
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    Layer& layer = layers_[i];
    const int64_t input_bytes = layer.input.steps * step_bytes;
    const int64_t stride = input_bytes + layer.recurrent.steps * step_bytes;
    pack(layers[i].weight_ih, gates, layer.input, layer.input_scale, 0, stride);
    pack(layers[i].weight_hh, gates, layer.recurrent, layer.recurrent_scale, input_bytes, stride);
    next += layer.panels * stride;
  }
  if (output) pack(output->weight, outputs, output_.input, output_.input_scale, 0, output_.input.steps * step_bytes);
}

void StreamingLstm::ReserveScratch(int64_t streams, int64_t rows) {
  const auto reserve = [](auto& values, int64_t size) {
    if (static_cast<int64_t>(values.size()) < size) values.resize(size);
  };
  const auto reserve_sequence = [&](Sequence& sequence, int64_t size) {
    reserve(sequence.values, size * width_);
    if (precision_ != Precision::kInt8) return;
    reserve(sequence.quantised, size * width_);
    reserve(sequence.rounding, size);
  };
  for (Sequence& sequence : sequences_) reserve_sequence(sequence, rows);
  reserve_sequence(before_, streams);
  reserve(cells_, streams * width_);
  reserve(sums_, rows * sums_width_);
}

void StreamingLstm::QuantiseRow(Sequence& sequence, int64_t row, int64_t columns) const {
  sequence.rounding[row] = PYASR_FOR_ISA(Quantise)(RowOf(sequence, row), RoundUp(columns, lanes_),
                                                   sequence.quantised.data() + row * width_);
}

Activations StreamingLstm::RowsFrom(const Sequence& sequence, int64_t first, int64_t step) const {
  const int64_t at = first * width_, stride = step * width_;
  if (precision_ != Precision::kInt8) return {sequence.values.data() + at, nullptr, nullptr, stride, 0};
  return {nullptr, sequence.quantised.data() + at, sequence.rounding.data() + first, stride, step};
}

template <typename Member>
void StreamingLstm::StepFrames(const Cube<const float>& x, int64_t begin, int64_t frames, const Cube<float>& hidden,
                               const Cube<float>& cell, const Cube<float>& y, const Member& member) {
  const int64_t streams = x.n, rows = streams * frames, panel_rows = kPanelVectors * lanes_, units = 2 * lanes_;
  const bool quantised = precision_ == Precision::kInt8;
  const Share my_streams = member.Of(streams), my_rows = member.Of(rows);
  const auto row_of_sums = [&](int64_t row, int64_t panel) {
    return sums_.data() + row * sums_width_ + panel * panel_rows;
  };
  // The sums of a panel for all rows: bias and product with the input.
  const auto multiply_input = [&](const Layer& layer, int64_t panel, const Sequence& input) {
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(layer.bias.data() + panel * panel_rows, panel_rows, row_of_sums(row, panel));
    }
    PYASR_FOR_ISA(MultiplyPanel)(precision_, layer.input, panel, RowsFrom(input, 0, 1), rows,
                                 {row_of_sums(0, panel), sums_width_});
  };

  for (int64_t row = my_rows.begin; row < my_rows.end; ++row) {
    float* to = RowOf(sequences_[0], row);
    std::copy_n(x.data + (row / frames * x.t + begin + row % frames) * x.k, x.k, to);
    std::fill(to + x.k, to + RoundUp(x.k, lanes_), 0.0f);
    if (quantised) QuantiseRow(sequences_[0], row, input_size_);
  }
  for (int64_t l = 0; l < num_layers(); ++l) {
    const Layer& layer = layers_[l];
    Sequence &input = sequences_[l % 2], &output = sequences_[(l + 1) % 2];
    for (int64_t n = my_streams.begin; n < my_streams.end; ++n) {
      const int64_t at = (l * streams + n) * hidden_size_;
      std::fill_n(RowOf(before_, n), width_, 0.0f);
      std::fill_n(cells_.data() + n * width_, width_, 0.0f);
      std::copy_n(hidden.data + at, hidden_size_, RowOf(before_, n));
      std::copy_n(cell.data + at, hidden_size_, cells_.data() + n * width_);
      if (quantised) QuantiseRow(before_, n, hidden_size_);
    }
    member.barrier.Wait(member.size);
    const Share my_panels = member.Of(layer.panels);
    for (int64_t t = 0; t < frames; ++t) {
      const Activations previous = t == 0 ? RowsFrom(before_, 0, 1) : RowsFrom(output, t - 1, frames);
      for (int64_t i = my_panels.begin; i < my_panels.end; ++i) {
        // To and fro: the recurrent panels that were read last may still be in the second cache.
        const int64_t panel = t % 2 == 0 ? i : my_panels.begin + my_panels.end - 1 - i;
        if (t == 0) multiply_input(layer, panel, input);
        const Rows sums{row_of_sums(t, panel), frames * sums_width_};
        PYASR_FOR_ISA(MultiplyPanel)(precision_, layer.recurrent, panel, previous, streams, sums);
        PYASR_FOR_ISA(CellPanel)(sums, streams, {cells_.data() + panel * units, width_},
                                 {RowOf(output, t) + panel * units, frames * width_});
      }
      member.barrier.Wait(member.size);
      if (!quantised) continue;
      for (int64_t n = my_streams.begin; n < my_streams.end; ++n) QuantiseRow(output, n * frames + t, hidden_size_);
      member.barrier.Wait(member.size);
    }
    for (int64_t n = my_streams.begin; n < my_streams.end; ++n) {
      const int64_t at = (l * streams + n) * hidden_size_;
      std::copy_n(RowOf(output, n * frames + frames - 1), hidden_size_, hidden.data + at);
      std::copy_n(cells_.data() + n * width_, hidden_size_, cell.data + at);
    }
  }
  Sequence& last = sequences_[num_layers() % 2];
  if (num_senones_ > 0) {
    const Share my_panels = member.Of(output_.panels);
    for (int64_t panel = my_panels.begin; panel < my_panels.end; ++panel) multiply_input(output_, panel, last);
    member.barrier.Wait(member.size);
  }
  for (int64_t row = my_rows.begin; row < my_rows.end; ++row) {
    float* to = y.data + (row / frames * y.t + begin + row % frames) * y.k;
    if (num_senones_ > 0) {
      PYASR_FOR_ISA(LogSoftmax)(row_of_sums(row, 0), output_.panels * panel_rows, num_senones_, to);
    } else {
      std::copy_n(RowOf(last, row), hidden_size_, to);
    }
  }
  member.barrier.Wait(member.size);
}

void StreamingLstm::Step(Cube<const float> x, Cube<float> hidden, Cube<float> cell, Cube<float> y, int num_threads) {
  PYASR_CHECK_EQ(x.k, input_size_, "features of a frame against inputs of the network");
  CheckShape(hidden, num_layers(), x.n, hidden_size_, "state h");
  CheckShape(cell, num_layers(), x.n, hidden_size_, "state c");
  CheckShape(y, x.n, x.t, output_size(), "out");
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  for (const auto& [data, size, what] : {std::tuple{x.data, x.size(), "x"},
                                         {static_cast<const float*>(hidden.data), hidden.size(), "state h"},
                                         {static_cast<const float*>(cell.data), cell.size(), "state c"}}) {
    PYASR_CHECK(!Overlap(y.data, y.size(), data, size), "out overlaps ", what);
  }
  PYASR_CHECK(!Overlap(hidden.data, hidden.size(), cell.data, cell.size()), "state h overlaps state c");
  for (int64_t row = 0; row < x.n * x.t; ++row) {
    PYASR_CHECK(IsFinite(x.data + row * x.k, x.k), "stream ", row / x.t, ", frame ", row % x.t, " is not finite");
  }
  for (int64_t row = 0; row < num_layers() * x.n; ++row) {
    const int64_t at = row * hidden_size_;
    PYASR_CHECK(IsFinite(hidden.data + at, hidden_size_) && IsFinite(cell.data + at, hidden_size_), "stream ",
                row % x.n, ": its state in layer ", row / x.n, " is not finite; reset it");
  }
  if (x.n * x.t == 0) return;

  const std::lock_guard<std::mutex> lock(mutex_);
  ReserveScratch(x.n, x.n * std::min(x.t, kMaxFrames));
  const int threads = static_cast<int>(std::min<int64_t>(num_threads, layers_[0].panels));
  Barrier barrier;
  const auto work = [&](int index, int size) {
    const TeamMember member{index, size, barrier};
    for (int64_t begin = 0; begin < x.t; begin += kMaxFrames) {
      StepFrames(x, begin, std::min(x.t - begin, kMaxFrames), hidden, cell, y, member);
    }
  };
  RunTeam(threads, std::ref(work));  // a reference: a function object of its own would be allocated
}

}  // namespace pyasr
