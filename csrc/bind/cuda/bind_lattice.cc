#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>

#include "bind/cuda/launch.h"
#include "hmm/lattice_cuda.h"

namespace py = pybind11;

namespace pyasr {
namespace {

// batch: the addresses of LatticeBatch in their order. results: log_total, expected, posteriors, gradient, status.
void ForwardBackward(int device, Address stream, int64_t size, const std::array<Address, 18>& batch, Address loglikes,
                     int64_t utterance_stride, int64_t frame_stride, double scale, Address values, Address scratch,
                     int64_t num_states, int64_t num_arcs, const std::array<Address, 5>& results) {
  PYASR_CHECK(std::isfinite(scale) && scale > 0, "acoustic scale is ", scale);
  const auto offsets = [&](int i) { return Pointer<const int64_t>(batch[i]); };
  const auto numbers = [&](int i) { return Pointer<const int32_t>(batch[i]); };
  const auto costs = [&](int i) { return Pointer<const float>(batch[i]); };
  const LatticeBatch on_device{size,        offsets(0),  offsets(1),  offsets(2),  offsets(3), offsets(4),  numbers(5),
                               numbers(6),  numbers(7),  numbers(8),  costs(9),    costs(10),  numbers(11), numbers(12),
                               numbers(13), numbers(14), numbers(15), numbers(16), numbers(17)};
  const CudaDeviceGuard guard(device);
  LatticeForwardBackwardCuda(on_device, Pointer<const float>(loglikes), utterance_stride, frame_stride, scale,
                             Pointer<const float>(values), Pointer<double>(scratch), num_states, num_arcs,
                             Pointer<double>(results[0]), Pointer<double>(results[1]), Pointer<double>(results[2]),
                             Pointer<double>(results[3]), Pointer<int64_t>(results[4]), StreamOf(stream));
}

}  // namespace

void BindLatticeCuda(py::module_& m) {
  m.attr("LATTICE_BAD_SCORE") = kLatticeBadScore;
  m.attr("LATTICE_BAD_VALUE") = kLatticeBadValue;
  m.attr("LATTICE_FORBIDDEN") = kLatticeForbidden;
  m.def("lattice_scratch_doubles", &LatticeScratchDoubles);
  m.def("lattice_forward_backward", &ForwardBackward);
}

}  // namespace pyasr
