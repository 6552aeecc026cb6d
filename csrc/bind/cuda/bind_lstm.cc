#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <tuple>
#include <vector>

#include "bind/cuda/launch.h"
#include "lstm/lstm_cuda.h"

namespace py = pybind11;

namespace pyasr {
namespace {

// The members of LstmCudaForward and LstmCudaBackward, in their order.
using Addresses = std::array<Address, 9>;
// frames, batch, units, directions
using Sizes = std::array<int64_t, 4>;

LstmShape ShapeOf(const Sizes& sizes) {
  const LstmShape shape{sizes[0], sizes[1], sizes[2], sizes[3]};
  PYASR_CHECK(shape.directions == 1 || shape.directions == 2, "there are ", shape.directions,
              " directions, not 1 or 2");
  PYASR_CHECK(shape.batch * shape.units <= int64_t{1} << 31, "more than 2^31 cells");
  return shape;
}

LstmCudaForward ForwardOf(const Addresses& a) {
  return {Pointer<const void>(a[0]),  Pointer<const void>(a[1]), Pointer<const void>(a[2]),
          Pointer<const float>(a[3]), Pointer<void>(a[4]),       Pointer<void>(a[5]),
          Pointer<float>(a[6]),       Pointer<void>(a[7]),       Pointer<float>(a[8])};
}

LstmCudaBackward BackwardOf(const Addresses& a) {
  return {Pointer<const void>(a[0]),  Pointer<const float>(a[1]), Pointer<const void>(a[2]),
          Pointer<const float>(a[3]), Pointer<const void>(a[4]),  Pointer<const void>(a[5]),
          Pointer<const float>(a[6]), Pointer<void>(a[7]),        Pointer<float>(a[8])};
}

LstmType TypeOf(const std::string& name) {
  if (name == "float32") return LstmType::kFloat32;
  PYASR_CHECK(name == "bfloat16", "there is no LSTM in ", name, " on a GPU");
  return LstmType::kBfloat16;
}

void CellStart(int device, Address stream, const std::string& type, const Sizes& sizes, const Addresses& direction) {
  const CudaDeviceGuard guard(device);
  LstmCellStart(TypeOf(type), ShapeOf(sizes), ForwardOf(direction), StreamOf(stream));
}

void CellForward(int device, Address stream, const std::string& type, const Sizes& sizes, bool reverse, int64_t step,
                 Address lengths, Address recurrent, const Addresses& direction) {
  const CudaDeviceGuard guard(device);
  LstmCellForward(TypeOf(type), ShapeOf(sizes), reverse, step, Pointer<const int64_t>(lengths),
                  Pointer<const void>(recurrent), ForwardOf(direction), StreamOf(stream));
}

void CellBackwardStart(int device, Address stream, const Sizes& sizes, const Addresses& direction) {
  const CudaDeviceGuard guard(device);
  LstmCellBackwardStart(ShapeOf(sizes), BackwardOf(direction), StreamOf(stream));
}

void CellBackward(int device, Address stream, const std::string& type, const Sizes& sizes, bool reverse, int64_t step,
                  Address lengths, Address from_next, const Addresses& direction) {
  const CudaDeviceGuard guard(device);
  LstmCellBackward(TypeOf(type), ShapeOf(sizes), reverse, step, Pointer<const int64_t>(lengths),
                   Pointer<const void>(from_next), BackwardOf(direction), StreamOf(stream));
}

// units, slices, groups, rows, tiles, shared bytes; units 0: the persistent kernel cannot run.
py::tuple Plan(int device, const Sizes& sizes, bool backward) {
  const CudaDeviceGuard guard(device);
  const LstmPlan plan = backward ? PlanLstmBackward(ShapeOf(sizes)) : PlanLstmForward(ShapeOf(sizes));
  return py::make_tuple(plan.units, plan.slices, plan.groups, plan.rows, plan.tiles, plan.shared_bytes);
}

void PersistentForward(int device, Address stream, const Sizes& sizes, Address lengths,
                       const std::vector<Addresses>& addresses, Address scratch) {
  const LstmShape shape = ShapeOf(sizes);
  PYASR_CHECK_EQ(static_cast<int64_t>(addresses.size()), shape.directions, "number of directions");
  std::vector<LstmCudaForward> directions;
  for (const auto& direction : addresses) directions.push_back(ForwardOf(direction));
  const CudaDeviceGuard guard(device);
  LstmPersistentForward(shape, Pointer<const int64_t>(lengths), directions.data(), Pointer<void>(scratch),
                        StreamOf(stream));
}

void PersistentBackward(int device, Address stream, const Sizes& sizes, Address lengths,
                        const std::vector<Addresses>& addresses, Address scratch) {
  const LstmShape shape = ShapeOf(sizes);
  PYASR_CHECK_EQ(static_cast<int64_t>(addresses.size()), shape.directions, "number of directions");
  std::vector<LstmCudaBackward> directions;
  for (const auto& direction : addresses) directions.push_back(BackwardOf(direction));
  const CudaDeviceGuard guard(device);
  LstmPersistentBackward(shape, Pointer<const int64_t>(lengths), directions.data(), Pointer<void>(scratch),
                         StreamOf(stream));
}

// tile and scratch bytes; tile 0: the kernel for Hopper cannot run.
py::tuple HopperPlan(int device, const Sizes& sizes, int64_t parts, bool backward, int tile) {
  const CudaDeviceGuard guard(device);
  const LstmHopperPlan plan = backward ? PlanLstmHopperBackward(ShapeOf(sizes), parts, tile)
                                       : PlanLstmHopperForward(ShapeOf(sizes), parts, tile);
  return py::make_tuple(plan.tile, plan.scratch_bytes);
}

// addresses, reverse, first, count: LstmPart
using PartOf = std::tuple<Addresses, bool, int, int>;

template <typename Tensors, typename F>
std::vector<LstmPart<Tensors>> PartsOf(const LstmShape& shape, const std::vector<PartOf>& given, const F& tensors_of) {
  std::vector<LstmPart<Tensors>> parts;
  for (const auto& [addresses, reverse, first, count] : given) {
    PYASR_CHECK(first >= 0 && count >= 0 && int64_t{first} + count <= shape.frames, "steps ", first, " to ",
                int64_t{first} + count, " of ", shape.frames);
    parts.push_back({tensors_of(addresses), reverse, first, count});
  }
  return parts;
}

// LstmHopperForward or LstmHopperBackward.
template <typename Tensors, Tensors (*kTensorsOf)(const Addresses&), auto kLaunch>
void Hopper(int device, Address stream, const Sizes& sizes, Address lengths, const std::vector<PartOf>& parts, int tile,
            Address scratch, int64_t scratch_bytes) {
  const LstmShape shape = ShapeOf(sizes);
  const CudaDeviceGuard guard(device);
  kLaunch(shape, Pointer<const int64_t>(lengths), PartsOf<Tensors>(shape, parts, kTensorsOf), tile,
          Pointer<void>(scratch), scratch_bytes, StreamOf(stream));
}

}  // namespace

void BindLstmCuda(py::module_& m) {
  m.attr("LSTM_SCRATCH_BYTES") = kLstmScratchBytes;
  m.def("lstm_cell_start", &CellStart);
  m.def("lstm_cell_forward", &CellForward);
  m.def("lstm_cell_backward_start", &CellBackwardStart);
  m.def("lstm_cell_backward", &CellBackward);
  m.def("lstm_plan", &Plan, py::arg("device"), py::arg("sizes"), py::arg("backward"));
  m.def("lstm_persistent_forward", &PersistentForward);
  m.def("lstm_persistent_backward", &PersistentBackward);
  m.attr("LSTM_MOST_FRAMES") = kLstmMostFrames;
  m.def("lstm_hopper_plan", &HopperPlan, py::arg("device"), py::arg("sizes"), py::arg("parts"), py::arg("backward"),
        py::arg("tile") = 0);
  m.def("lstm_hopper_forward", &Hopper<LstmCudaForward, ForwardOf, LstmHopperForward>);
  m.def("lstm_hopper_backward", &Hopper<LstmCudaBackward, BackwardOf, LstmHopperBackward>);
}

}  // namespace pyasr
