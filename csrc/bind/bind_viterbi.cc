#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "bind/arrays.h"
#include "hmm/viterbi_align.h"

namespace py = pybind11;

namespace pyasr {
namespace {

// One utterance: (arc_begin, arc_dst, arc_tid, arc_cost, final_cost, loglikes)
using Utterance =
    std::tuple<Array<int32_t>, Array<int32_t>, Array<int32_t>, Array<float>, Array<float>, Array<float>>;

py::list Align(const std::vector<Utterance>& utterances, const Array<int32_t>& tid_to_column, double scale,
               double beam, int num_threads) {
  std::vector<AlignmentGraph> graphs;
  std::vector<MatrixView<const float>> loglikes;
  for (const auto& [begin, dst, tid, cost, final_cost, matrix] : utterances) {
    graphs.push_back({View(begin, "arc_begin"), View(dst, "arc_dst"), View(tid, "arc_tid"), View(cost, "arc_cost"),
                      View(final_cost, "final_cost"), View(tid_to_column, "tid_to_column")});
    loglikes.push_back(MatrixOf(matrix, "loglikes"));
  }
  std::vector<Alignment> alignments;
  {
    py::gil_scoped_release release;
    alignments = ViterbiAlignBatch(graphs, loglikes, scale, beam, num_threads);
  }
  py::list results;
  for (const Alignment& alignment : alignments) {
    py::array_t<int32_t> arcs(static_cast<py::ssize_t>(alignment.arcs.size()), alignment.arcs.data());
    results.append(py::make_tuple(arcs, alignment.cost, alignment.ok));
  }
  return results;
}

}  // namespace

void BindViterbi(py::module_& m) {
  m.def("viterbi_align", &Align, py::arg("utterances"), py::arg("tid_to_column"), py::arg("acoustic_scale"),
        py::arg("beam"), py::arg("num_threads"));
}

}  // namespace pyasr
