#include <pybind11/pybind11.h>

#include "bind/arrays.h"
#include "posterior/topk.h"

namespace py = pybind11;

namespace pyasr {
namespace {

py::array_t<uint8_t> Pack(const Array<float>& logits, int k, int num_threads) {
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  const auto x = MatrixOf(logits, "logits");
  const int64_t row_bytes = PackedRowBytes(k, x.cols);
  py::array_t<uint8_t> packed({x.rows, row_bytes});
  const MatrixView<uint8_t> view{packed.mutable_data(), x.rows, row_bytes, row_bytes};
  {
    py::gil_scoped_release release;
    PackTopk(x, k, view, num_threads);
  }
  return packed;
}

py::tuple Unpack(const Array<uint8_t>& packed, int k, int64_t num_senones) {
  const auto rows = MatrixOf(packed, "packed");
  PYASR_CHECK_EQ(rows.cols, PackedRowBytes(k, num_senones), "bytes of a packed row");
  py::array_t<int32_t> ids({rows.rows, static_cast<int64_t>(k)});
  py::array_t<float> logp({rows.rows, static_cast<int64_t>(k)});
  const MatrixView<int32_t> id_view{ids.mutable_data(), rows.rows, k, k};
  const MatrixView<float> logp_view{logp.mutable_data(), rows.rows, k, k};
  {
    py::gil_scoped_release release;
    UnpackTopk(rows, num_senones, id_view, logp_view);
  }
  return py::make_tuple(ids, logp);
}

}  // namespace

void BindTopk(py::module_& m) {
  m.def("pack_topk", &Pack, py::arg("logits").noconvert(), py::arg("k"), py::arg("num_threads"));
  m.def("unpack_topk", &Unpack, py::arg("packed").noconvert(), py::arg("k"), py::arg("num_senones"));
  m.def("packed_row_bytes", &PackedRowBytes, py::arg("k"), py::arg("num_senones"));
}

}  // namespace pyasr
