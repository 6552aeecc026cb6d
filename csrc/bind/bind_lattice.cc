#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/arrays.h"
#include "hmm/check_lattice.h"
#include "hmm/lattice_forward_backward.h"
#include "hmm/lattice_plan.h"

namespace py = pybind11;

namespace pyasr {
namespace {

// (arc_src, arc_dst, arc_senone, arc_time, arc_cost, final_cost)
using Arrays = std::tuple<Array<int32_t>, Array<int32_t>, Array<int32_t>, Array<int32_t>, Array<float>, Array<float>>;
// A lattice, its log-likelihoods, its arcs' values
using Utterance = std::tuple<Arrays, Array<float>, Array<float>>;

Lattice LatticeOf(const Arrays& arrays) {
  const auto& [src, dst, senone, time, cost, final_cost] = arrays;
  return {View(src, "arc_src"),   View(dst, "arc_dst"),   View(senone, "arc_senone"),
          View(time, "arc_time"), View(cost, "arc_cost"), View(final_cost, "final_cost")};
}

void Check(const Arrays& arrays, int64_t num_frames) {
  const Lattice lattice = LatticeOf(arrays);
  py::gil_scoped_release release;
  CheckLattice(lattice, num_frames, std::numeric_limits<int64_t>::max());
}

// The numbers of a vector as an array that owns it.
template <typename T>
py::array_t<T> Owning(std::vector<T>&& numbers) {
  auto* kept = new std::vector<T>(std::move(numbers));
  const py::capsule owner(kept, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

// The arrays of LatticePlan in their order.
py::tuple Plan(const Arrays& arrays, int64_t num_frames, int64_t num_senones) {
  const Lattice lattice = LatticeOf(arrays);
  LatticePlan plan;
  {
    py::gil_scoped_release release;
    CheckLattice(lattice, num_frames, num_senones);
    plan = PlanLattice(lattice, num_senones);
  }
  return py::make_tuple(Owning(std::move(plan.state)), Owning(std::move(plan.level_begin)),
                        Owning(std::move(plan.out_begin)), Owning(std::move(plan.in_begin)),
                        Owning(std::move(plan.in_arc)), Owning(std::move(plan.pair_frame)),
                        Owning(std::move(plan.pair_senone)), Owning(std::move(plan.pair_begin)),
                        Owning(std::move(plan.pair_arc)));
}

py::list ForwardBackward(const std::vector<Utterance>& utterances, double scale, int num_threads) {
  std::vector<Lattice> lattices;
  std::vector<MatrixView<const float>> loglikes;
  std::vector<Span<const float>> values;
  std::vector<py::array_t<double>> posteriors;
  std::vector<Span<double>> posterior_spans;
  for (const auto& [arrays, matrix, of_arcs] : utterances) {
    lattices.push_back(LatticeOf(arrays));
    loglikes.push_back(MatrixOf(matrix, "loglikes"));
    values.push_back(View(of_arcs, "arc_values"));
    posteriors.emplace_back(lattices.back().arc_src.size);
    posterior_spans.push_back({posteriors.back().mutable_data(), posteriors.back().size()});
  }
  std::vector<LatticePosteriors> results;
  {
    py::gil_scoped_release release;
    results = LatticeForwardBackwardBatch(lattices, loglikes, scale, values, posterior_spans, num_threads);
  }
  py::list list;
  for (size_t i = 0; i < results.size(); ++i) {
    LatticePosteriors& result = results[i];
    list.append(py::make_tuple(result.log_total, posteriors[i], result.expected, Owning(std::move(result.frame)),
                               Owning(std::move(result.senone)), Owning(std::move(result.gradient))));
  }
  return list;
}

}  // namespace

void BindLattice(py::module_& m) {
  py::register_exception<LatticeError>(m, "LatticeError", PyExc_ValueError);
  m.def("check_lattice", &Check, py::arg("lattice"), py::arg("num_frames"));
  m.def("lattice_plan", &Plan, py::arg("lattice"), py::arg("num_frames"), py::arg("num_senones"));
  m.def("lattice_forward_backward", &ForwardBackward, py::arg("utterances"), py::arg("acoustic_scale"),
        py::arg("num_threads"));
}

}  // namespace pyasr
