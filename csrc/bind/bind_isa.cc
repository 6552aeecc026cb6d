#include <pybind11/pybind11.h>

#include "base/isa.h"

namespace py = pybind11;

namespace pyasr {

void BindIsa(py::module_& m) {
  m.def("active_isa", [] { return IsaName(ActiveIsa()); });
  m.def("best_isa", [] { return IsaName(BestIsa()); });
}

}  // namespace pyasr
