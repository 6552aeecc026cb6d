#include "base/simd_math.h"
#include "lstm/panels.h"
#include "lstm/steps.h"

namespace pyasr {
namespace PYASR_ISA {

void PackBackward(const float* weight, UnitSlice slice, float* packed) {
  const int64_t units = slice.units;
  for (int64_t block = slice.begin; block < slice.end; ++block) {
    const int64_t first = block * kPanelWidth;
    float* to = packed + block * 4 * units * kPanelWidth;
    for (int64_t k = 0; k < 4 * units; ++k, to += kPanelWidth) {
      for (int v = 0; v < 2; ++v) {
        const int64_t u = first + v * kLanes;
        Store(to + v * kLanes, u < units ? LoadFirst(weight + k * units + u, units - u) : Fill(0.0f));
      }
    }
  }
}

namespace {

// With y = o tanh(c), c = f c' + i g, and s (1 - s) and 1 - t^2 the derivatives of sigmoid and tanh.
PYASR_INLINE void BackwardCell(const BackwardRow& row, int64_t units, int64_t u, F32 from_next) {
  const int64_t count = units - u;
  const F32 one = Fill(1.0f);
  const F32 i = LoadFirst(row.gates + u, count), f = LoadFirst(row.gates + units + u, count);
  const F32 g = LoadFirst(row.gates + 2 * units + u, count), o = LoadFirst(row.gates + 3 * units + u, count);
  const F32 t = Tanh(LoadFirst(row.cell + u, count));
  F32 d_output = LoadFirst(row.d_output + u, count) + from_next;
  if (row.d_last != nullptr) d_output += LoadFirst(row.d_last + u, count);
  const F32 d_cell = Fma(d_output * o, one - t * t, LoadFirst(row.d_cell + u, count));
  StoreFirst(row.d_cell + u, d_cell * f, count);
  StoreFirst(row.d_gates + u, d_cell * g * i * (one - i), count);
  StoreFirst(row.d_gates + units + u, d_cell * LoadFirst(row.cell_before + u, count) * f * (one - f), count);
  StoreFirst(row.d_gates + 2 * units + u, d_cell * i * (one - g * g), count);
  StoreFirst(row.d_gates + 3 * units + u, d_output * t * o * (one - o), count);
}

}  // namespace

void BackwardStep(const BackwardRow* rows, const float* const* before, int64_t num_rows, UnitSlice slice,
                  const float* packed, float* scratch) {
  const int64_t units = slice.units;
  for (int64_t block = slice.begin; block < slice.end; block += 4) {
    const int panels = static_cast<int>(slice.end - block < 4 ? slice.end - block : 4);
    Multiply(before, num_rows, 4 * units, packed + block * 4 * units * kPanelWidth, panels, scratch);
    for (int64_t r = 0; r < num_rows; ++r) {
      for (int v = 0; v < 2 * panels; ++v) {
        const int64_t u = block * kPanelWidth + v * kLanes;
        if (u >= units) break;
        BackwardCell(rows[r], units, u, Load(scratch + r * panels * kPanelWidth + v * kLanes));
      }
    }
  }
}

}  // namespace PYASR_ISA
}  // namespace pyasr
