#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bind/arrays.h"
#include "lstm/streaming.h"

namespace py = pybind11;

namespace pyasr {
namespace {

// (weight_ih, weight_hh, bias_ih, bias_hh)
using LayerArrays = std::tuple<Array<float>, Array<float>, Array<float>, Array<float>>;
// (weight, bias)
using OutputArrays = std::tuple<Array<float>, Array<float>>;

Precision PrecisionOf(const std::string& name) {
  if (name == "fp32") return Precision::kFp32;
  if (name == "bf16") return Precision::kBf16;
  if (name == "int8") return Precision::kInt8;
  Fail("precision ", name, ": there are fp32, bf16 and int8");
}

std::unique_ptr<StreamingLstm> Make(const std::vector<LayerArrays>& arrays, const std::optional<OutputArrays>& output,
                                    const std::string& precision) {
  std::vector<LstmWeights> layers;
  for (const auto& [weight_ih, weight_hh, bias_ih, bias_hh] : arrays) {
    layers.push_back({MatrixOf(weight_ih, "weight_ih"), MatrixOf(weight_hh, "weight_hh"), View(bias_ih, "bias_ih"),
                      View(bias_hh, "bias_hh")});
  }
  LinearWeights linear;
  if (output) linear = {MatrixOf(std::get<0>(*output), "output weight"), View(std::get<1>(*output), "output bias")};
  const Precision kind = PrecisionOf(precision);
  py::gil_scoped_release release;
  return std::make_unique<StreamingLstm>(layers, output ? &linear : nullptr, kind);
}

Cube<const float> CubeOf(const Array<float>& array, const char* name) {
  PYASR_CHECK_EQ(array.ndim(), 3, std::string("dimensions of ") + name);
  return {array.data(), array.shape(0), array.shape(1), array.shape(2)};
}

Cube<float> MutableCubeOf(Array<float>& array, const char* name) {
  PYASR_CHECK_EQ(array.ndim(), 3, std::string("dimensions of ") + name);
  return {array.mutable_data(), array.shape(0), array.shape(1), array.shape(2)};
}

void Step(StreamingLstm& lstm, const Array<float>& x, Array<float>& hidden, Array<float>& cell, Array<float>& out,
          int num_threads) {
  const auto frames = CubeOf(x, "x");
  const auto h = MutableCubeOf(hidden, "state h"), c = MutableCubeOf(cell, "state c"), y = MutableCubeOf(out, "out");
  py::gil_scoped_release release;
  lstm.Step(frames, h, c, y, num_threads);
}

}  // namespace

void BindStreaming(py::module_& m) {
  py::class_<StreamingLstm>(m, "StreamingLstm")
      .def(py::init(&Make), py::arg("layers"), py::arg("output"), py::arg("precision"))
      .def("step", &Step, py::arg("x").noconvert(), py::arg("hidden").noconvert(), py::arg("cell").noconvert(),
           py::arg("out").noconvert(), py::arg("num_threads"))
      .def_property_readonly("input_size", &StreamingLstm::input_size)
      .def_property_readonly("hidden_size", &StreamingLstm::hidden_size)
      .def_property_readonly("num_layers", &StreamingLstm::num_layers)
      .def_property_readonly("output_size", &StreamingLstm::output_size)
      .def_property_readonly("weight_bytes", &StreamingLstm::weight_bytes);
}

}  // namespace pyasr
