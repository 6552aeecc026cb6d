#include <pybind11/pybind11.h>

#include <string>
#include <string_view>
#include <vector>

#include "bind/arrays.h"
#include "posterior/pack_topk.h"
#include "posterior/row_block.h"
#include "posterior/summarise_topk.h"
#include "posterior/unpack_topk.h"

namespace py = pybind11;

namespace pyasr {
namespace {

// Rows may lie apart (a part of a wider matrix), the elements of a row may not.
template <typename T>
MatrixView<const T> RowsOf(const py::array_t<T>& array, const char* name) {
  PYASR_CHECK_EQ(array.ndim(), 2, std::string("dimensions of ") + name);
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(T));
  const bool many_columns = array.shape(1) > 1, many_rows = array.shape(0) > 1;
  const bool empty = array.size() == 0;  // strides say nothing then
  PYASR_CHECK(empty || !many_columns || array.strides(1) == kSize, "elements of a row of ", name, " lie ",
              array.strides(1), " bytes apart, not ", kSize);
  PYASR_CHECK(!many_rows || array.strides(0) % kSize == 0, "rows of ", name, " lie ", array.strides(0),
              " bytes apart, no multiple of ", kSize);
  return {array.data(), array.shape(0), array.shape(1), many_rows ? array.strides(0) / kSize : array.shape(1)};
}

template <typename T>
py::array_t<uint8_t> Pack(const MatrixView<const T>& logits, int64_t k, int num_threads) {
  const TopkFormat format(k, logits.cols);
  py::array_t<uint8_t> packed({logits.rows, format.row_bytes});
  const MatrixView<uint8_t> out{packed.mutable_data(), logits.rows, format.row_bytes, format.row_bytes};
  {
    py::gil_scoped_release release;
    PackTopk(logits, format, out, num_threads);
  }
  return packed;
}

py::array_t<uint8_t> PackFloat(const py::array_t<float>& logits, int64_t k, int num_threads) {
  return Pack(RowsOf(logits, "logits"), k, num_threads);
}

py::array_t<uint8_t> PackBf16(const py::array_t<uint16_t>& logits, int64_t k, int num_threads) {
  const auto bits = RowsOf(logits, "logits");
  const MatrixView<const Bf16> x{reinterpret_cast<const Bf16*>(bits.data), bits.rows, bits.cols, bits.stride};
  return Pack(x, k, num_threads);
}

py::tuple Unpack(const py::array_t<uint8_t>& packed, int64_t k, int64_t num_senones, int num_threads) {
  const auto in = RowsOf(packed, "packed");
  const TopkFormat format(k, num_senones);
  py::array_t<int32_t> ids({in.rows, k});
  py::array_t<float> logp({in.rows, k});
  const MatrixView<int32_t> ids_view{ids.mutable_data(), in.rows, k, k};
  const MatrixView<float> logp_view{logp.mutable_data(), in.rows, k, k};
  {
    py::gil_scoped_release release;
    UnpackTopk(in, format, ids_view, logp_view, num_threads);
  }
  return py::make_tuple(ids, logp);
}

py::tuple Summarise(const py::array_t<uint8_t>& packed, int64_t k, int64_t num_senones) {
  const auto in = RowsOf(packed, "packed");
  const TopkFormat format(k, num_senones);
  TopkSummary summary;
  {
    py::gil_scoped_release release;
    summary = SummariseTopk(in, format);
  }
  return py::make_tuple(summary.max_posterior, summary.entropy, summary.kept);
}

py::bytes Encode(const py::array_t<uint8_t>& packed, int64_t k, int64_t num_senones) {
  const auto in = RowsOf(packed, "packed");
  const TopkFormat format(k, num_senones);
  std::vector<uint8_t> coded;
  {
    py::gil_scoped_release release;
    coded = EncodeRows(in, format);
  }
  return py::bytes(reinterpret_cast<const char*>(coded.data()), coded.size());
}

void Decode(const py::bytes& coded, int64_t num_rows, int64_t k, int64_t num_senones, py::array_t<uint8_t>& packed) {
  const TopkFormat format(k, num_senones);
  const std::string_view bytes(coded);
  PYASR_CHECK(packed.writeable(), "packed is read-only");
  const auto out = RowsOf(packed, "packed");
  const MatrixView<uint8_t> view{packed.mutable_data(), out.rows, out.cols, out.stride};
  py::gil_scoped_release release;
  DecodeRows({reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size())}, num_rows, format,
             view);
}

int64_t RowBytes(int64_t k, int64_t num_senones) { return TopkFormat(k, num_senones).row_bytes; }

}  // namespace

void BindPosterior(py::module_& m) {
  m.def("pack_topk_float32", &PackFloat, py::arg("logits").noconvert(), py::arg("k"), py::arg("num_threads"));
  m.def("pack_topk_bfloat16", &PackBf16, py::arg("logits").noconvert(), py::arg("k"), py::arg("num_threads"));
  m.def("unpack_topk", &Unpack, py::arg("packed").noconvert(), py::arg("k"), py::arg("num_senones"),
        py::arg("num_threads"));
  m.def("summarise_topk", &Summarise, py::arg("packed").noconvert(), py::arg("k"), py::arg("num_senones"));
  m.def("encode_rows", &Encode, py::arg("packed").noconvert(), py::arg("k"), py::arg("num_senones"));
  m.def("decode_rows", &Decode, py::arg("coded"), py::arg("num_rows"), py::arg("k"), py::arg("num_senones"),
        py::arg("packed").noconvert());
  m.def("packed_row_bytes", &RowBytes, py::arg("k"), py::arg("num_senones"));
}

}  // namespace pyasr
