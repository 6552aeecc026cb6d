#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "bind/cuda/launch.h"
#include "gtc/gtc_cuda.h"
#include "gtc/words.h"

namespace py = pybind11;

namespace pyasr {
namespace {

void Encode(int device, Address stream, Address grad, Address residual, int64_t n, float tau, Address words,
            int64_t capacity, Address count, Address scratch) {
  PYASR_CHECK(tau > 0 && std::isfinite(tau), "tau is ", tau, " in float32, not positive and finite");
  const CudaDeviceGuard guard(device);
  GtcEncodeCuda(Pointer<const float>(grad), Pointer<float>(residual), n, tau, Pointer<int32_t>(words), capacity,
                Pointer<int64_t>(count), Pointer<void>(scratch), StreamOf(stream));
}

// (words, capacity, count or 0)
using Message = std::tuple<Address, int64_t, Address>;

void DecodeAdd(int device, Address stream, const std::vector<Message>& messages, float step, Address out, int64_t n,
               Address status) {
  std::vector<GtcMessage> on_device;
  for (const auto& [words, capacity, count] : messages) {
    on_device.push_back({Pointer<const int32_t>(words), capacity, Pointer<const int64_t>(count)});
  }
  const CudaDeviceGuard guard(device);
  GtcDecodeAddCuda(on_device, step, Pointer<float>(out), n, Pointer<int64_t>(status), StreamOf(stream));
}

}  // namespace

void BindGtcCuda(py::module_& m) {
  m.attr("GTC_NOT_FINITE") = kGtcNotFinite;
  m.attr("GTC_NO_ROOM") = kGtcNoRoom;
  m.def("gtc_encode_scratch_bytes", &GtcEncodeScratchBytes, py::arg("n"));
  m.def("gtc_encode", &Encode, py::arg("device"), py::arg("stream"), py::arg("grad"), py::arg("residual"), py::arg("n"),
        py::arg("tau"), py::arg("words"), py::arg("capacity"), py::arg("count"), py::arg("scratch"));
  m.def("gtc_decode_add", &DecodeAdd, py::arg("device"), py::arg("stream"), py::arg("messages"), py::arg("step"),
        py::arg("out"), py::arg("n"), py::arg("status"));
}

}  // namespace pyasr
