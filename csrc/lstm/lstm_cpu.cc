#include <algorithm>
#include <vector>

#include "base/aligned.h"
#include "base/check.h"
#include "base/team.h"
#include "lstm/lstm.h"
#include "lstm/steps.h"

namespace pyasr {
namespace {

// A thread is worth its waiting from so many multiply-adds a step on: some microseconds.
constexpr int64_t kLeastWork = 1 << 17;

// The order in which one direction visits time.
struct Clock {
  int64_t frames;
  bool reverse;

  int64_t At(int64_t step) const { return reverse ? frames - 1 - step : step; }
  bool IsFirst(int64_t t, int64_t length) const { return t == (reverse ? length - 1 : 0); }
  bool IsLast(int64_t t, int64_t length) const { return t == (reverse ? 0 : length - 1); }
  int64_t Before(int64_t t) const { return reverse ? t + 1 : t - 1; }
  int64_t After(int64_t t) const { return reverse ? t - 1 : t + 1; }
};

// What a member works with besides the tensors; made before the team starts, where running out of memory can be told.
template <typename Row>
struct Workspace {
  std::vector<Row> rows;
  std::vector<const float*> before;
  AlignedArray<float> scratch;
  std::vector<float> zeros;

  explicit Workspace(const LstmShape& shape)
      : rows(shape.batch),
        before(shape.batch),
        scratch(MakeAligned<float>(shape.batch * 4 * PYASR_FOR_ISA(UnitsPerBlock)())),
        zeros(4 * shape.units) {}
};

// One member's part of a direction.
struct Part {
  const LstmShape& shape;
  Span<const int64_t> lengths;
  Clock clock;
  UnitSlice slice;
  float* packed;
  Barrier& barrier;
  int members;  // that meet there

  // Copies or clears this member's units of a row.
  void Copy(const float* from, float* to) const {
    std::copy(from + first_unit(), from + end_unit(), to + first_unit());
  }
  void Clear(float* row) const { std::fill(row + first_unit(), row + end_unit(), 0.0f); }

 private:
  int64_t first_unit() const { return slice.begin * PYASR_FOR_ISA(UnitsPerBlock)(); }
  int64_t end_unit() const { return std::min(shape.units, slice.end * PYASR_FOR_ISA(UnitsPerBlock)()); }
};

void Run(const Part& part, const LstmForwardDirection& d, Workspace<ForwardRow>& workspace) {
  const auto [frames, batch, units, directions] = part.shape;
  auto& [rows, before, scratch, unused] = workspace;
  PYASR_FOR_ISA(PackForward)(d.weight_hh, part.slice, part.packed);
  for (int64_t n = 0; n < batch; ++n) {
    part.Copy(d.first_state + n * units, d.last_state + n * units);  // stays where a sequence has no frames
    part.Copy(d.first_cell + n * units, d.last_cell + n * units);    // the running cell where `cells` is not wanted
  }
  for (int64_t step = 0; step < frames; ++step) {
    const int64_t t = part.clock.At(step);
    int64_t num_rows = 0;
    for (int64_t n = 0; n < batch; ++n) {
      const int64_t row = t * batch + n, row_before = part.clock.Before(t) * batch + n;
      float* output = d.output + row * directions * units;
      if (t >= part.lengths[n]) {
        part.Clear(output);
        continue;
      }
      const bool first = part.clock.IsFirst(t, part.lengths[n]);
      float* running_cell = d.last_cell + n * units;
      before[num_rows] = first ? d.first_state + n * units : d.output + row_before * directions * units;
      rows[num_rows++] = {d.projected + row * 4 * units,
                          d.cells == nullptr || first ? running_cell : d.cells + row_before * units,
                          d.gates == nullptr ? nullptr : d.gates + row * 4 * units,
                          d.cells == nullptr ? running_cell : d.cells + row * units, output};
    }
    PYASR_FOR_ISA(ForwardStep)(rows.data(), before.data(), num_rows, part.slice, part.packed, scratch.get());
    for (int64_t n = 0; n < batch; ++n) {
      if (t >= part.lengths[n] || !part.clock.IsLast(t, part.lengths[n])) continue;
      const int64_t row = t * batch + n;
      part.Copy(d.output + row * directions * units, d.last_state + n * units);
      if (d.cells != nullptr) part.Copy(d.cells + row * units, d.last_cell + n * units);
    }
    part.barrier.Wait(part.members);
  }
}

void Run(const Part& part, const LstmBackwardDirection& d, Workspace<BackwardRow>& workspace) {
  const auto [frames, batch, units, directions] = part.shape;
  auto& [rows, before, scratch, zeros] = workspace;
  PYASR_FOR_ISA(PackBackward)(d.weight_hh, part.slice, part.packed);
  for (int64_t n = 0; n < batch; ++n) part.Copy(d.d_last_cell + n * units, d.d_first_cell + n * units);
  for (int64_t step = frames - 1; step >= 0; --step) {
    const int64_t t = part.clock.At(step);
    int64_t num_rows = 0;
    for (int64_t n = 0; n < batch; ++n) {
      const int64_t row = t * batch + n, row_before = part.clock.Before(t) * batch + n;
      float* d_gates = d.d_projected + row * 4 * units;
      if (t >= part.lengths[n]) {
        for (int gate = 0; gate < 4; ++gate) part.Clear(d_gates + gate * units);
        continue;
      }
      const bool first = part.clock.IsFirst(t, part.lengths[n]), last = part.clock.IsLast(t, part.lengths[n]);
      before[num_rows] = last ? zeros.data() : d.d_projected + (part.clock.After(t) * batch + n) * 4 * units;
      rows[num_rows++] = {d.d_output + row * directions * units,
                          last ? d.d_last_state + n * units : nullptr,
                          d.gates + row * 4 * units,
                          first ? d.first_cell + n * units : d.cells + row_before * units,
                          d.cells + row * units,
                          d.d_first_cell + n * units,
                          d_gates};
    }
    PYASR_FOR_ISA(BackwardStep)(rows.data(), before.data(), num_rows, part.slice, part.packed, scratch.get());
    part.barrier.Wait(part.members);
  }
}

// Run for parts that cover all units of all directions.
template <typename Row, typename Direction>
void RunAll(const LstmShape& shape, Span<const int64_t> lengths, const Direction* directions, int num_threads) {
  PYASR_CHECK(num_threads >= 1, "num_threads is ", num_threads);
  PYASR_CHECK_EQ(lengths.size, shape.batch, "number of lengths");
  for (int64_t n = 0; n < shape.batch; ++n) {
    PYASR_CHECK(lengths[n] >= 0 && lengths[n] <= shape.frames, "length of sequence ", n, " is ", lengths[n],
                ", outside [0, ", shape.frames, "]");
  }
  const int64_t width = PYASR_FOR_ISA(UnitsPerBlock)(), blocks = (shape.units + width - 1) / width;
  const int64_t packed_size = blocks * 4 * shape.units * width;
  // Uninitialised: the member that reads a block has packed it.
  const AlignedArray<float> packed = MakeAligned<float>(shape.directions * packed_size);
  const int64_t work = shape.batch * 4 * shape.units * shape.units;
  const int64_t most = shape.directions * std::min(blocks, std::max<int64_t>(work / kLeastWork, 1));
  const int threads = static_cast<int>(std::min<int64_t>(num_threads, most));
  std::vector<Workspace<Row>> workspaces;
  for (int i = 0; i < threads; ++i) workspaces.emplace_back(shape);
  std::vector<Barrier> barriers(shape.directions);
  RunTeam(threads, [&](int member, int size) {
    // Either each direction has members of its own, or each member runs one direction after the other.
    const int64_t members = std::max<int64_t>(size / shape.directions, 1);
    for (int64_t d = member / members; d < shape.directions; d += size / members) {
      const int64_t i = member % members;
      const UnitSlice slice{shape.units, blocks * i / members, blocks * (i + 1) / members};
      const Clock clock{shape.frames, d == 1};
      Run(Part{shape, lengths, clock, slice, packed.get() + d * packed_size, barriers[d], static_cast<int>(members)},
          directions[d], workspaces[member]);
    }
  });
}

}  // namespace

void LstmForward(const LstmShape& shape, Span<const int64_t> lengths, const LstmForwardDirection* directions,
                 int num_threads) {
  RunAll<ForwardRow>(shape, lengths, directions, num_threads);
}

void LstmBackward(const LstmShape& shape, Span<const int64_t> lengths, const LstmBackwardDirection* directions,
                  int num_threads) {
  RunAll<BackwardRow>(shape, lengths, directions, num_threads);
}

}  // namespace pyasr
