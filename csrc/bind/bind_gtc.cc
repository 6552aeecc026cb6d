#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bind/arrays.h"
#include "gtc/decode_add.h"
#include "gtc/encode.h"
#include "gtc/golomb_rice.h"

namespace py = pybind11;

namespace pyasr {
namespace {

template <typename T>
Span<T> Writable(Array<T>& array, const char* name) {
  PYASR_CHECK_EQ(array.ndim(), 1, std::string("dimensions of ") + name);
  return {array.mutable_data(), array.size()};
}

// An array that takes the vector over: nothing is copied, so nothing can fail once a residual has given up its words.
py::array_t<int32_t> ArrayOf(std::vector<int32_t>&& words) {
  auto owner = std::make_unique<std::vector<int32_t>>(std::move(words));
  const int32_t* data = owner->data();
  const auto size = static_cast<py::ssize_t>(owner->size());
  py::capsule capsule(owner.get(), [](void* p) { delete static_cast<std::vector<int32_t>*>(p); });
  owner.release();
  return py::array_t<int32_t>(size, data, capsule);
}

// words, their count, and the first index whose sum is not finite or -1 (see GtcEncode).
py::tuple Encode(const Array<float>& grad, Array<float> residual, float tau, int64_t max_count, int num_threads) {
  const Span<const float> grad_view = View(grad, "grad");
  const Span<float> residual_view = Writable(residual, "residual");
  GtcEncoded encoded;
  {
    py::gil_scoped_release release;
    encoded = GtcEncode(grad_view, residual_view, tau, max_count, num_threads);
  }
  return py::make_tuple(ArrayOf(std::move(encoded.words)), encoded.count, encoded.first_bad);
}

void DecodeAdd(const std::vector<Array<int32_t>>& messages, float step, Array<float> out, int num_threads) {
  std::vector<Span<const int32_t>> views;
  for (const auto& words : messages) views.push_back(View(words, "words"));
  const Span<float> out_view = Writable(out, "out");
  py::gil_scoped_release release;
  GtcDecodeAdd(views, step, out_view, num_threads);
}

py::array_t<uint8_t> Compress(const Array<int32_t>& words, int64_t n) {
  const Span<const int32_t> view = View(words, "words");
  GtcHeader header;
  int64_t bytes;
  {
    py::gil_scoped_release release;
    header = MakeGtcHeader(view, n);
    bytes = GtcCompressedBytes(view, header);
  }
  py::array_t<uint8_t> data(bytes);
  const Span<uint8_t> out{data.mutable_data(), bytes};
  py::gil_scoped_release release;
  GtcCompress(view, header, out);
  return data;
}

py::array_t<int32_t> Decompress(const Array<uint8_t>& data) {
  const Span<const uint8_t> in = View(data, "data");
  const GtcHeader header = ReadGtcHeader(in);
  py::array_t<int32_t> words(header.count);
  const Span<int32_t> out{words.mutable_data(), header.count};
  py::gil_scoped_release release;
  GtcDecompress(in, header, out);
  return words;
}

}  // namespace

void BindGtc(py::module_& m) {
  m.def("gtc_encode", &Encode, py::arg("grad").noconvert(), py::arg("residual").noconvert(), py::arg("tau"),
        py::arg("max_count"), py::arg("num_threads"));
  m.def("gtc_decode_add", &DecodeAdd, py::arg("messages"), py::arg("step"), py::arg("out").noconvert(),
        py::arg("num_threads"));
  m.def("gtc_compress", &Compress, py::arg("words").noconvert(), py::arg("n"));
  m.def("gtc_decompress", &Decompress, py::arg("data").noconvert());
}

}  // namespace pyasr
