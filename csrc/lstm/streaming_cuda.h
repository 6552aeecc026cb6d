// The streaming step of streaming.h on a GPU.
//
// Bound: reading every weight once, 49 MB of bfloat16 for 5 layers of 768 units with 3183 outputs; they nearly fit into
// the L2 cache of an H100. Each layer waits for the one below, so a frame is a chain of one launch a layer (two in
// int8, where vectors are rounded first), one for the output layer and one for its log-softmax: captured into a graph,
// these cost about as much as the weights. A warp has a unit, the four rows of whose gates it multiplies with up to 4
// streams at a time, so weights are read once for every 4 streams, from the L2 cache after the first time.
#pragma once

#include <cstdint>

#include "base/cuda.h"
#include "lstm/streaming_kernel.h"

namespace pyasr {

// A row of weights and of vectors is padded with zeros to a multiple of so many elements.
constexpr int64_t kStreamingPad = 16;

// rows x columns, row by row, `stride` elements apart, aligned to 16 bytes: float, bfloat16 or int8.
struct StreamingMatrix {
  const void* weights;
  const float* scale;  // int8: of each row
  int64_t stride;
};

struct StreamingLayer {
  StreamingMatrix input, recurrent;  // (4 H, inputs), (4 H, H)
  const float* bias;                 // (4 H,)
};

// Vectors of N streams, `stride` floats apart; for int8 also rounded, and scale (N,).
struct StreamingVectors {
  float* values;
  int16_t* quantised;
  float* scale;
  int64_t stride;
};

// good (N,): 1 where x (N, T, D) and the state (layers, N, H) of a stream are finite, else 0. Copies the hidden outputs
// to before (layers, N, stride).
void StreamingStart(const float* x, int64_t streams, int64_t frames, int64_t inputs, const float* hidden,
                    const float* cell, int64_t layers, int64_t units, float* before, int64_t stride, int32_t* good,
                    CudaStream stream);

// Row n: `size` elements at from + n from_stride; zeros behind them.
void StreamingCopy(const float* from, int64_t from_stride, int64_t streams, int64_t size, const StreamingVectors& to,
                   CudaStream stream);

// Rounds vectors as streaming_kernel.h's Quantise does.
void StreamingQuantise(const StreamingVectors& vectors, int64_t streams, CudaStream stream);

// The outputs of a layer (N, stride), and its cells (N, H) in place where `good`.
void StreamingCells(Precision precision, const StreamingLayer& layer, int64_t units, int64_t inputs, int64_t streams,
                    const StreamingVectors& input, const StreamingVectors& before, const int32_t* good, float* cell,
                    const StreamingVectors& output, CudaStream stream);

// y (N, outputs), rows y_stride apart: log-probabilities; NaN where not `good`.
void StreamingOutput(Precision precision, const StreamingMatrix& weight, const float* bias, int64_t outputs,
                     int64_t units, int64_t streams, const StreamingVectors& input, const int32_t* good, float* y,
                     int64_t y_stride, CudaStream stream);

// y likewise, from hidden outputs.
void StreamingHidden(const StreamingVectors& hidden, int64_t units, int64_t streams, const int32_t* good, float* y,
                     int64_t y_stride, CudaStream stream);

// hidden (layers, N, H) becomes the outputs of the last frame, where `good`.
void StreamingFinish(const float* last, int64_t stride, int64_t layers, int64_t streams, int64_t units,
                     const int32_t* good, float* hidden, CudaStream stream);

}  // namespace pyasr
