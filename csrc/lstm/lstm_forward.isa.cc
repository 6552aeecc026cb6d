#include "base/simd_math.h"
#include "lstm/panels.h"
#include "lstm/steps.h"

namespace pyasr {
namespace PYASR_ISA {

int64_t UnitsPerBlock() { return kPanelWidth; }

void PackForward(const float* weight, UnitSlice slice, float* packed) {
  const int64_t units = slice.units;
  for (int64_t panel = 4 * slice.begin; panel < 4 * slice.end; ++panel) {
    const int64_t gate = panel % 4, first = panel / 4 * kPanelWidth;
    const int64_t width = units - first < kPanelWidth ? units - first : kPanelWidth;
    const float* rows = weight + (gate * units + first) * units;
    float* to = packed + panel * units * kPanelWidth;
    // In squares, so that the cache lines of both sides are used whole.
    for (int64_t k0 = 0; k0 < units; k0 += 16) {
      const int64_t k1 = k0 + 16 < units ? k0 + 16 : units;
      for (int64_t u = 0; u < kPanelWidth; ++u) {
        for (int64_t k = k0; k < k1; ++k) to[k * kPanelWidth + u] = u < width ? rows[u * units + k] : 0.0f;
      }
    }
  }
}

void ForwardStep(const ForwardRow* rows, const float* const* before, int64_t num_rows, UnitSlice slice,
                 const float* packed, float* scratch) {
  const int64_t units = slice.units;
  for (int64_t block = slice.begin; block < slice.end; ++block) {
    Multiply(before, num_rows, units, packed + block * 4 * units * kPanelWidth, 4, scratch);
    for (int64_t r = 0; r < num_rows; ++r) {
      const ForwardRow& row = rows[r];
      for (int v = 0; v < 2; ++v) {
        const int64_t u = block * kPanelWidth + v * kLanes, count = units - u;
        if (count <= 0) break;
        F32 sum[4];
        for (int gate = 0; gate < 4; ++gate) {
          sum[gate] = LoadFirst(row.projected + gate * units + u, count) +
                      Load(scratch + (r * 4 + gate) * kPanelWidth + v * kLanes);
        }
        const F32 i = Sigmoid(sum[0]), f = Sigmoid(sum[1]), g = Tanh(sum[2]), o = Sigmoid(sum[3]);
        const F32 cell = Fma(f, LoadFirst(row.cell_before + u, count), i * g);
        StoreFirst(row.cell + u, cell, count);
        StoreFirst(row.output + u, o * Tanh(cell), count);
        if (row.gates != nullptr) {
          StoreFirst(row.gates + u, i, count);
          StoreFirst(row.gates + units + u, f, count);
          StoreFirst(row.gates + 2 * units + u, g, count);
          StoreFirst(row.gates + 3 * units + u, o, count);
        }
      }
    }
  }
}

}  // namespace PYASR_ISA
}  // namespace pyasr
