// A stack of forward-only LSTM layers, and an output layer, fed with one or a few frames at a time.
//
// What limits it: a step of one frame reads every weight once, 97 MB of fp32 in 5 layers of 768 units with 3183
// outputs, and does two operations with each: the bound is bytes of weights / read bandwidth. So weights are packed in
// the order they are read in (streaming_kernel.h), as floats, bf16 or int8. Of T frames in a call all input products of
// a layer are formed while its weights pass once; the recurrent ones, which have to wait for each other, read theirs
// T times, from the L3 cache where a layer fits there: a layer is finished with all frames before the next one begins.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "base/span.h"
#include "lstm/streaming_kernel.h"

namespace pyasr {

// In torch's layout: weight_ih (4 H, D), weight_hh (4 H, H), biases (4 H,) or empty for none; gates in the order input,
// forget, cell, output.
struct LstmWeights {
  MatrixView<const float> weight_ih, weight_hh;
  Span<const float> bias_ih, bias_hh;
};

// weight (S, H), bias (S,) or empty for none.
struct LinearWeights {
  MatrixView<const float> weight;
  Span<const float> bias;
};

// (N, T, K), contiguous.
template <typename T>
struct Cube {
  T* data;
  int64_t n, t, k;
  int64_t size() const { return n * t * k; }
};

class StreamingLstm {
 public:
  // Copies and packs the weights for the instruction set in use. output: null for none.
  // Throws std::invalid_argument when shapes do not fit together, or a weight is not finite.
  StreamingLstm(const std::vector<LstmWeights>& layers, const LinearWeights* output, Precision precision);

  // Feeds T frames to each of N streams: x (N, T, D); hidden and cell (layers, N, H) are the state, replaced by the one
  // after the last frame; y (N, T, S) log-probabilities, natural log, or (N, T, H) hidden outputs of the last layer
  // without an output layer. y overlaps neither x nor the state.
  // The bits of a stream's results depend neither on the other streams, nor on how its frames are divided into calls,
  // nor on num_threads. Memory is allocated when N or T are larger than ever before, and by starting threads.
  // Calls of several threads on one object run one after the other.
  // Throws std::invalid_argument before anything is written: for shapes that do not fit, and for a frame or a state
  // that is not finite (named).
  void Step(Cube<const float> x, Cube<float> hidden, Cube<float> cell, Cube<float> y, int num_threads);

  int64_t input_size() const { return input_size_; }
  int64_t hidden_size() const { return hidden_size_; }
  int64_t num_layers() const { return static_cast<int64_t>(layers_.size()); }
  int64_t output_size() const { return num_senones_ > 0 ? num_senones_ : hidden_size_; }
  int64_t weight_bytes() const { return weight_bytes_; }

 private:
  struct Layer {
    PackedMatrix input, recurrent;  // the output layer has an input matrix alone
    std::vector<float> bias, input_scale, recurrent_scale;
    int64_t panels = 0;
  };
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  // Rows of activations; for int8 the same quantised, which the products then read.
  struct Sequence {
    std::vector<float> values;
    std::vector<int16_t> quantised;
    std::vector<Rounding> rounding;
  };

  void ReserveScratch(int64_t streams, int64_t rows);
  float* RowOf(Sequence& sequence, int64_t row) const { return sequence.values.data() + row * width_; }
  void QuantiseRow(Sequence& sequence, int64_t row, int64_t columns) const;
  Activations RowsFrom(const Sequence& sequence, int64_t first, int64_t step) const;
  template <typename Member>
  void StepFrames(const Cube<const float>& x, int64_t begin, int64_t frames, const Cube<float>& hidden,
                  const Cube<float>& cell, const Cube<float>& y, const Member& member);

  Precision precision_;
  int64_t lanes_, input_size_, hidden_size_;
  int64_t num_senones_ = 0;
  int64_t width_ = 0;  // of a row of activations, padding included
  int64_t weight_bytes_ = 0;
  std::unique_ptr<uint8_t, Free> weights_;
  std::vector<Layer> layers_;
  Layer output_;

  // Scratch of a step. Row n * frames + t is frame t of stream n, unless it says streams.
  std::mutex mutex_;
  int64_t sums_width_ = 0;
  Sequence sequences_[2];     // a layer reads one and writes the other
  Sequence before_;           // streams: hidden outputs before the first frame
  std::vector<float> cells_;  // streams
  std::vector<float> sums_;   // of the gates, or the logits
};

}  // namespace pyasr
