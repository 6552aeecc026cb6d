// The extension module pyasr._cuda: kernels for NVIDIA GPUs, built where there is a CUDA compiler.
//
// Functions take a device's number, a stream, and addresses of device memory: pyasr/ops checks the tensors they come
// from (dtype, shape, device, contiguity), and the functions here what else can be wrong.
#include <pybind11/pybind11.h>

namespace pyasr {
void BindGtcCuda(pybind11::module_& m);
void BindLatticeCuda(pybind11::module_& m);
void BindLstmCuda(pybind11::module_& m);
void BindPosteriorCuda(pybind11::module_& m);
void BindStreamingCuda(pybind11::module_& m);
}  // namespace pyasr

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of pyasr; pyasr.ops is their documented face.";
  pyasr::BindGtcCuda(m);
  pyasr::BindLatticeCuda(m);
  pyasr::BindLstmCuda(m);
  pyasr::BindPosteriorCuda(m);
  pyasr::BindStreamingCuda(m);
}
