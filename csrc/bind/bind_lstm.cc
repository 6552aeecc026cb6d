#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bind/arrays.h"
#include "lstm/lstm.h"

namespace py = pybind11;

namespace pyasr {
namespace {

using Arrays = std::vector<Array<float>>;

// The array's data, once its shape is the one that is meant.
const float* Data(const Array<float>& array, const std::vector<int64_t>& shape, const char* name) {
  PYASR_CHECK_EQ(array.ndim(), static_cast<int64_t>(shape.size()), std::string("dimensions of ") + name);
  for (size_t i = 0; i < shape.size(); ++i) {
    PYASR_CHECK_EQ(array.shape(static_cast<int>(i)), shape[i],
                   std::string("size of dimension ") + std::to_string(i) + " of " + name);
  }
  return array.data();
}

float* MutableData(Array<float>& array, const std::vector<int64_t>& shape, const char* name) {
  Data(array, shape, name);
  return array.mutable_data();  // throws where the array is read-only
}

// Directions, frames and batch are those of `projected`-like (T, N, 4 H) arrays, units those of the weights.
LstmShape ShapeOf(const Array<float>& projected, const Arrays& weights) {
  PYASR_CHECK_EQ(projected.ndim(), 3, "dimensions of projected");
  PYASR_CHECK(weights.size() == 1 || weights.size() == 2, "there are ", weights.size(), " directions, not 1 or 2");
  PYASR_CHECK_EQ(weights[0].ndim(), 2, "dimensions of weight_hh");
  PYASR_CHECK(weights[0].shape(1) > 0, "weight_hh has no units");
  return {projected.shape(0), projected.shape(1), weights[0].shape(1), static_cast<int64_t>(weights.size())};
}

// `gates` and `cells` of no elements: not wanted.
void Forward(const Arrays& projected, const Arrays& weights, const Array<float>& first_state,
             const Array<float>& first_cell, const Array<int64_t>& lengths, Array<float> output,
             Array<float> last_state, Array<float> last_cell, Array<float> gates, Array<float> cells, int num_threads) {
  PYASR_CHECK_EQ(projected.size(), weights.size(), "number of projected");
  PYASR_CHECK(!projected.empty(), "there are 0 directions, not 1 or 2");
  const LstmShape s = ShapeOf(projected[0], weights);
  const auto [T, N, H, D] = s;
  const bool save = gates.size() > 0;
  std::vector<LstmForwardDirection> directions;
  for (int64_t d = 0; d < D; ++d) {
    directions.push_back({Data(projected[d], {T, N, 4 * H}, "projected"), Data(weights[d], {4 * H, H}, "weight_hh"),
                          Data(first_state, {D, N, H}, "first_state") + d * N * H,
                          Data(first_cell, {D, N, H}, "first_cell") + d * N * H,
                          MutableData(output, {T, N, D * H}, "output") + d * H,
                          MutableData(last_state, {D, N, H}, "last_state") + d * N * H,
                          MutableData(last_cell, {D, N, H}, "last_cell") + d * N * H,
                          save ? MutableData(gates, {D, T, N, 4 * H}, "gates") + d * T * N * 4 * H : nullptr,
                          save ? MutableData(cells, {D, T, N, H}, "cells") + d * T * N * H : nullptr});
  }
  const auto ends = View(lengths, "lengths");
  py::gil_scoped_release release;
  LstmForward(s, ends, directions.data(), num_threads);
}

void Backward(const Arrays& weights, const Array<float>& first_cell, const Array<int64_t>& lengths,
              const Array<float>& gates, const Array<float>& cells, const Array<float>& d_output,
              const Array<float>& d_last_state, const Array<float>& d_last_cell, Array<float> d_projected,
              Array<float> d_first_cell, int num_threads) {
  PYASR_CHECK(!weights.empty(), "there are 0 directions, not 1 or 2");
  const LstmShape s = ShapeOf(d_output, weights);
  const auto [T, N, H, D] = s;
  std::vector<LstmBackwardDirection> directions;
  for (int64_t d = 0; d < D; ++d) {
    directions.push_back({Data(weights[d], {4 * H, H}, "weight_hh"),
                          Data(first_cell, {D, N, H}, "first_cell") + d * N * H,
                          Data(gates, {D, T, N, 4 * H}, "gates") + d * T * N * 4 * H,
                          Data(cells, {D, T, N, H}, "cells") + d * T * N * H,
                          Data(d_output, {T, N, D * H}, "d_output") + d * H,
                          Data(d_last_state, {D, N, H}, "d_last_state") + d * N * H,
                          Data(d_last_cell, {D, N, H}, "d_last_cell") + d * N * H,
                          MutableData(d_projected, {D, T, N, 4 * H}, "d_projected") + d * T * N * 4 * H,
                          MutableData(d_first_cell, {D, N, H}, "d_first_cell") + d * N * H});
  }
  const auto ends = View(lengths, "lengths");
  py::gil_scoped_release release;
  LstmBackward(s, ends, directions.data(), num_threads);
}

}  // namespace

void BindLstm(py::module_& m) {
  m.def("lstm_forward", &Forward, py::arg("projected").noconvert(), py::arg("weights").noconvert(),
        py::arg("first_state").noconvert(), py::arg("first_cell").noconvert(), py::arg("lengths").noconvert(),
        py::arg("output").noconvert(), py::arg("last_state").noconvert(), py::arg("last_cell").noconvert(),
        py::arg("gates").noconvert(), py::arg("cells").noconvert(), py::arg("num_threads"));
  m.def("lstm_backward", &Backward, py::arg("weights").noconvert(), py::arg("first_cell").noconvert(),
        py::arg("lengths").noconvert(), py::arg("gates").noconvert(), py::arg("cells").noconvert(),
        py::arg("d_output").noconvert(), py::arg("d_last_state").noconvert(), py::arg("d_last_cell").noconvert(),
        py::arg("d_projected").noconvert(), py::arg("d_first_cell").noconvert(), py::arg("num_threads"));
}

}  // namespace pyasr
