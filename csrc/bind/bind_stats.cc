#include <pybind11/pybind11.h>

#include <string>

#include "bind/arrays.h"
#include "hmm/accumulate_stats.h"

namespace py = pybind11;

namespace pyasr {
namespace {

py::tuple Accumulate(const Array<float>& features, const Array<int32_t>& keys, const Array<float>& weights,
                     int64_t num_keys, int num_threads) {
  PYASR_CHECK(num_keys >= 0, "num_keys is ", num_keys);
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  const auto x = MatrixOf(features, "features");
  py::array_t<double> count(num_keys), sum({num_keys, x.cols}), sumsq({num_keys, x.cols});
  for (auto* array : {&count, &sum, &sumsq}) std::fill_n(array->mutable_data(), array->size(), 0.0);
  const auto k = View(keys, "keys");
  const auto w = View(weights, "weights");
  const Span<double> count_view{count.mutable_data(), num_keys};
  const MatrixView<double> sum_view{sum.mutable_data(), num_keys, x.cols, x.cols};
  const MatrixView<double> sumsq_view{sumsq.mutable_data(), num_keys, x.cols, x.cols};
  {
    py::gil_scoped_release release;
    AccumulateStats(x, k, w, count_view, sum_view, sumsq_view, num_threads);
  }
  return py::make_tuple(count, sum, sumsq);
}

}  // namespace

void BindStats(py::module_& m) {
  m.def("accumulate_stats", &Accumulate, py::arg("features").noconvert(), py::arg("keys").noconvert(),
        py::arg("weights").noconvert(), py::arg("num_keys"), py::arg("num_threads"));
}

}  // namespace pyasr
