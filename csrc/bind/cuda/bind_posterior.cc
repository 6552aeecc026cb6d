#include <pybind11/pybind11.h>

#include "bind/cuda/launch.h"
#include "posterior/topk_cuda.h"

namespace py = pybind11;

namespace pyasr {
namespace {

template <typename T>
void Pack(int device, Address stream, Address logits, int64_t stride, int64_t rows, int64_t k, int64_t num_senones,
          Address levels, Address packed) {
  const TopkFormat format(k, num_senones);
  const CudaDeviceGuard guard(device);
  PackTopkCuda(Pointer<const T>(logits), stride, rows, format, Pointer<const TopkLevels>(levels),
               Pointer<uint8_t>(packed), StreamOf(stream));
}

void Unpack(int device, Address stream, Address packed, int64_t stride, int64_t rows, int64_t k, int64_t num_senones,
            Address levels, Address ids, Address logp) {
  const TopkFormat format(k, num_senones);
  const CudaDeviceGuard guard(device);
  UnpackTopkCuda(Pointer<const uint8_t>(packed), stride, rows, format, Pointer<const TopkLevels>(levels),
                 Pointer<int32_t>(ids), Pointer<float>(logp), StreamOf(stream));
}

// The levels' bytes, to be copied to a device once.
py::bytes LevelsBytes() { return {reinterpret_cast<const char*>(&Levels()), sizeof(TopkLevels)}; }

}  // namespace

void BindPosteriorCuda(py::module_& m) {
  m.def("topk_levels", &LevelsBytes);
  m.def("pack_topk_float32", &Pack<float>, py::arg("device"), py::arg("stream"), py::arg("logits"), py::arg("stride"),
        py::arg("rows"), py::arg("k"), py::arg("num_senones"), py::arg("levels"), py::arg("packed"));
  m.def("pack_topk_bfloat16", &Pack<Bf16>, py::arg("device"), py::arg("stream"), py::arg("logits"), py::arg("stride"),
        py::arg("rows"), py::arg("k"), py::arg("num_senones"), py::arg("levels"), py::arg("packed"));
  m.def("unpack_topk", &Unpack, py::arg("device"), py::arg("stream"), py::arg("packed"), py::arg("stride"),
        py::arg("rows"), py::arg("k"), py::arg("num_senones"), py::arg("levels"), py::arg("ids"), py::arg("logp"));
}

}  // namespace pyasr
