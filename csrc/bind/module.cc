// The extension module pyasr._core: one bind function a topic, each in its own file.
#include <pybind11/pybind11.h>

namespace pyasr {
void BindGtc(pybind11::module_& m);
void BindIsa(pybind11::module_& m);
void BindLattice(pybind11::module_& m);
void BindLstm(pybind11::module_& m);
void BindPosterior(pybind11::module_& m);
void BindStats(pybind11::module_& m);
void BindStreaming(pybind11::module_& m);
void BindViterbi(pybind11::module_& m);
}  // namespace pyasr

PYBIND11_MODULE(_core, m) {
  m.doc() = "Native kernels of pyasr; pyasr.ops is their documented face.";
  pyasr::BindGtc(m);
  pyasr::BindIsa(m);
  pyasr::BindLattice(m);
  pyasr::BindLstm(m);
  pyasr::BindPosterior(m);
  pyasr::BindStats(m);
  pyasr::BindStreaming(m);
  pyasr::BindViterbi(m);
}
