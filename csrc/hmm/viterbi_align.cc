#include "hmm/viterbi_align.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/check.h"
#include "base/parallel_for.h"
#include "hmm/viterbi_graph.h"
#include "hmm/viterbi_step.h"

namespace pyasr {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Refuses log-likelihoods that must not be among those that the active states look at.
void CheckLoglikes(const AlignmentGraph& graph, const float* loglikes, int64_t frame, const StateCosts& now) {
  for (int64_t s = now.begin; s < now.end; ++s) {
    if (now.of[s] == kInfinity) continue;
    for (int32_t a = graph.arc_begin[s]; a < graph.arc_begin[s + 1]; ++a) {
      const float loglike = loglikes[graph.Column(a)];
      // Written so that NaN fails, too.
      PYASR_CHECK(loglike < kInfinity, "log-likelihood of frame ", frame, ", column ", graph.Column(a), " is ",
                  loglike);
    }
  }
}

// The costs of each frame's band, from which the best path is read at the end. (Back pointers would have to be found
// for all states; a path needs those of its own.)
class History {
 public:
  void Clear(int64_t num_rows) {
    if (static_cast<size_t>(num_rows) > rows_.size()) rows_.resize(num_rows);
    chunk_ = 0;
    used_ = 0;
  }

  // Room for the costs of the blocks that hold [begin, end); that of state s has its place at result[s].
  double* Reserve(int64_t begin, int64_t end) {
    const int64_t block = begin & -kStateBlock, size = InBlocks(end - block);
    while (chunk_ < chunks_.size() && used_ + size > chunks_[chunk_].size) {
      ++chunk_;
      used_ = 0;
    }
    if (chunk_ == chunks_.size()) {
      const int64_t chunk_size = std::max(size, kChunk);
      chunks_.push_back({MakeAligned<double>(chunk_size), chunk_size});
    }
    double* row = chunks_[chunk_].costs.get() + used_;
    used_ += size;
    return row - block;
  }

  void Set(int64_t row, const double* costs, const StateCosts& band) { rows_[row] = {costs, band.begin, band.end}; }

  double At(int64_t row, int64_t state) const {
    const Row& r = rows_[row];
    return state >= r.begin && state < r.end ? r.costs[state] : kInfinity;
  }

 private:
  static constexpr int64_t kChunk = 1 << 13;
  struct Chunk {
    AlignedArray<double> costs;
    int64_t size;
  };
  struct Row {
    const double* costs;
    int64_t begin, end;
  };
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;  // the one in use
  int64_t used_ = 0;  // of it
  std::vector<Row> rows_;
};

// What one thread aligns with; its memory serves one utterance after the other. Threads share no cache line.
class alignas(64) Search {
 public:
  Alignment Align(const AlignmentGraph& graph, MatrixView<const float> loglikes, double scale, double beam) {
    PYASR_CHECK(std::isfinite(scale) && scale > 0, "acoustic scale is ", scale);
    PYASR_CHECK(beam > 0, "beam is ", beam);
    graph_.Assign(graph, loglikes.cols);
    const auto step = PYASR_FOR_ISA(ViterbiStep);
    const ViterbiArcs arcs = graph_.Arcs();
    const int64_t num_states = InBlocks(graph.final_cost.size);
    if (2 * num_states > room_) {
      room_ = 2 * num_states;
      costs_ = MakeAligned<double>(room_);
    }
    std::fill(costs_.get(), costs_.get() + 2 * num_states, kInfinity);
    StateCosts now{costs_.get(), 0, 1}, next{costs_.get() + num_states, 0, 0};
    now.of[0] = 0.0;
    history_.Clear(loglikes.rows + 1);
    double* row = history_.Reserve(0, 1);
    row[0] = 0.0;
    history_.Set(0, row, now);
    for (int64_t t = 0; t < loglikes.rows; ++t) {
      const int64_t begin = graph_.BeginOf(now), end = graph_.EndOf(now);
      row = history_.Reserve(begin, end);
      const bool sane = step(arcs, loglikes.row(t), scale, beam, now, begin, end, &next, row);
      if (!sane) CheckLoglikes(graph, loglikes.row(t), t, now);
      if (next.end <= next.begin) return {};
      history_.Set(t + 1, row, next);
      std::swap(now, next);
    }

    Alignment result;
    int32_t state = -1;
    for (int64_t s = now.begin; s < now.end; ++s) {
      const double cost = now.of[s] + graph.final_cost[s];
      if (cost < result.cost) {
        result.cost = cost;
        state = static_cast<int32_t>(s);
      }
    }
    if (state < 0) return {};
    result.ok = true;
    result.arcs = Path(state, loglikes, scale);
    return result;
  }

 private:
  // The arcs of the best path to `state`: backwards, of those by which a state got its cost the lowest.
  std::vector<int32_t> Path(int32_t state, MatrixView<const float> loglikes, double scale) const {
    std::vector<int32_t> path(static_cast<size_t>(loglikes.rows));
    for (int64_t t = loglikes.rows - 1; t >= 0; --t) {
      const double reached = history_.At(t + 1, state);
      int32_t best_arc = std::numeric_limits<int32_t>::max(), best_source = -1;
      graph_.ForArcsInto(state, [&](int32_t source, int32_t arc, double cost, int32_t column) {
        if (arc < best_arc && history_.At(t, source) + cost - scale * loglikes.row(t)[column] == reached) {
          best_arc = arc;
          best_source = source;
        }
      });
      path[t] = best_arc;
      state = best_source;
    }
    return path;
  }

  ViterbiGraph graph_;
  AlignedArray<double> costs_;
  int64_t room_ = 0;  // for so many costs
  History history_;
};

}  // namespace

Alignment ViterbiAlign(const AlignmentGraph& graph, MatrixView<const float> loglikes, double scale, double beam) {
  return Search().Align(graph, loglikes, scale, beam);
}

std::vector<Alignment> ViterbiAlignBatch(const std::vector<AlignmentGraph>& graphs,
                                         const std::vector<MatrixView<const float>>& loglikes, double scale,
                                         double beam, int num_threads) {
  PYASR_CHECK_EQ(graphs.size(), loglikes.size(), "number of graphs against log-likelihood matrices");
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  std::vector<Alignment> alignments(graphs.size());
  std::vector<Search> searches(std::min(static_cast<size_t>(num_threads), graphs.size()));
  ParallelFor(static_cast<int64_t>(graphs.size()), num_threads, [&](int64_t i, int member) {
    try {
      alignments[i] = searches[member].Align(graphs[i], loglikes[i], scale, beam);
    } catch (const std::invalid_argument& error) {
      Fail("utterance ", i, ": ", error.what());
    }
  });
  return alignments;
}

}  // namespace pyasr
