#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "bind/cuda/launch.h"
#include "lstm/streaming_cuda.h"

namespace py = pybind11;

namespace pyasr {
namespace {

// weights, scale, stride
using Matrix = std::tuple<Address, Address, int64_t>;
// input, recurrent, bias
using Layer = std::tuple<Matrix, Matrix, Address>;
// values, quantised, scale, stride
using Vectors = std::tuple<Address, Address, Address, int64_t>;

StreamingMatrix MatrixOf(const Matrix& m) {
  return {Pointer<const void>(std::get<0>(m)), Pointer<const float>(std::get<1>(m)), std::get<2>(m)};
}

StreamingVectors VectorsOf(const Vectors& v, int64_t first) {
  const auto [values, quantised, scale, stride] = v;
  return {Pointer<float>(values) + first * stride, Pointer<int16_t>(quantised) + first * stride,
          Pointer<float>(scale) + first, stride};
}

// All launches of one step of T frames. x (N, T, D), hidden and cell (layers, N, H), y (N, T, outputs); below (N,): the
// input of a layer; states: two of (layers * N,), hidden outputs before and after a frame, by turns.
void Step(int device, Address stream_address, const std::string& precision_name, const std::vector<Layer>& layers,
          const Matrix& output, Address output_bias, int64_t inputs, int64_t units, int64_t outputs, int64_t streams,
          int64_t frames, Address x, Address hidden, Address cell, Address y, const Vectors& below,
          const std::pair<Vectors, Vectors>& states, Address good_address) {
  const auto stream = StreamOf(stream_address);
  const Precision precision = precision_name == "fp32"   ? Precision::kFp32
                              : precision_name == "bf16" ? Precision::kBf16
                                                         : Precision::kInt8;
  const bool quantised = precision == Precision::kInt8;
  const auto num_layers = static_cast<int64_t>(layers.size());
  const int64_t width = outputs > 0 ? outputs : units;
  auto* const good = Pointer<int32_t>(good_address);
  auto* const cells = Pointer<float>(cell);
  const auto* const features = Pointer<const float>(x);
  const CudaDeviceGuard guard(device);
  const Vectors* before = &states.first;
  const Vectors* after = &states.second;
  StreamingStart(features, streams, frames, inputs, Pointer<const float>(hidden), cells, num_layers, units,
                 VectorsOf(*before, 0).values, std::get<3>(*before), good, stream);
  if (quantised) StreamingQuantise(VectorsOf(*before, 0), num_layers * streams, stream);
  for (int64_t t = 0; t < frames; ++t) {
    const StreamingVectors first = VectorsOf(below, 0);
    StreamingCopy(features + t * inputs, frames * inputs, streams, inputs, first, stream);
    if (quantised) StreamingQuantise(first, streams, stream);
    StreamingVectors input = first;
    for (int64_t l = 0; l < num_layers; ++l) {
      const auto& [input_weights, recurrent_weights, bias] = layers[l];
      const StreamingLayer layer{MatrixOf(input_weights), MatrixOf(recurrent_weights), Pointer<const float>(bias)};
      const StreamingVectors result = VectorsOf(*after, l * streams);
      StreamingCells(precision, layer, units, l == 0 ? inputs : units, streams, input, VectorsOf(*before, l * streams),
                     good, cells + l * streams * units, result, stream);
      if (quantised) StreamingQuantise(result, streams, stream);
      input = result;
    }
    float* const to = Pointer<float>(y) + t * width;
    if (outputs > 0) {
      StreamingOutput(precision, MatrixOf(output), Pointer<const float>(output_bias), outputs, units, streams, input,
                      good, to, frames * width, stream);
    } else {
      StreamingHidden(input, units, streams, good, to, frames * width, stream);
    }
    std::swap(before, after);
  }
  StreamingFinish(VectorsOf(*before, 0).values, std::get<3>(*before), num_layers, streams, units, good,
                  Pointer<float>(hidden), stream);
}

}  // namespace

void BindStreamingCuda(py::module_& m) {
  m.attr("STREAMING_PAD") = kStreamingPad;
  m.def("streaming_step", &Step);
}

}  // namespace pyasr
