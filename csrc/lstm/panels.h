// Products of a few rows with packed weights, for .isa.cc files.
//
// A panel is the weights of kPanelWidth outputs, input by input: what the inner loop reads next lies next to what it
// has read. Each sum is a chain of Fma over the inputs in their order, begun anew after each kChain of them to keep
// rounding errors small, so a row's result depends neither on the rows beside it nor on how rows and panels are shared
// out among threads.
#pragma once

#include "base/simd.h"

namespace pyasr {
namespace PYASR_ISA {

constexpr int kPanelWidth = 2 * kLanes;

// Rows of a tile. One panel then takes 2 vectors x 6 rows of sums, 2 weights and an input: the 16 registers of SSE and
// AVX2. AVX-512 has 32, and takes two panels. The two fused multiply-adds that a processor starts in a cycle take four
// cycles each, so that 8 sums are the least that keep it busy: up to 3 rows take two panels everywhere.
constexpr int kTileRows = 6;
// How far ahead weights are asked for, in floats: they come from the second or third cache, and a panel is too short
// for the processor's own prefetching to get going. Worth 5 to 20 %. What is asked for farther ahead comes in time, but
// takes room in the first cache for longer: 3 rows lose by 64 inputs instead of 16 as much as 4 and more win, 2 %.
constexpr int64_t Prefetch(int rows) { return (rows <= 3 ? 16 : 64) * kPanelWidth; }

constexpr int64_t kChain = 256;

constexpr int TilePanels(int rows) { return rows <= 3 || kLanes == 16 ? 2 : 1; }

// `rows` x `panels` sums of `inputs` products each; out: rows `out_stride` apart.
template <int rows, int panels>
PYASR_INLINE void MultiplyTile(const float* const* a, int64_t inputs, const float* packed, float* out,
                               int64_t out_stride) {
  constexpr int vectors = 2 * panels;
  const float* row[rows];
  for (int r = 0; r < rows; ++r) row[r] = a[r];
  const int64_t panel_size = inputs * kPanelWidth;
  for (int64_t begin = 0; begin < inputs; begin += kChain) {
    const int64_t end = begin + kChain < inputs ? begin + kChain : inputs;
    F32 sum[rows][vectors] = {};
    for (int64_t k = begin; k < end; ++k, packed += kPanelWidth) {
      for (int p = 0; p < panels; ++p) __builtin_prefetch(packed + p * panel_size + Prefetch(rows));
      F32 weight[vectors];
      for (int v = 0; v < vectors; ++v) weight[v] = Load(packed + v / 2 * panel_size + v % 2 * kLanes);
      for (int r = 0; r < rows; ++r) {
        const F32 x = Fill(row[r][k]);
        for (int v = 0; v < vectors; ++v) sum[r][v] = Fma(x, weight[v], sum[r][v]);
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < vectors; ++v) {
        float* to = out + r * out_stride + v * kLanes;
        Store(to, begin == 0 ? sum[r][v] : Load(to) + sum[r][v]);
      }
    }
  }
}

template <int rows>
inline void MultiplyRows(const float* const* a, int64_t inputs, const float* packed, int num_panels, float* out,
                         int64_t out_stride) {
  constexpr int step = TilePanels(rows);
  int panel = 0;
  for (; panel + step <= num_panels; panel += step) {
    MultiplyTile<rows, step>(a, inputs, packed + panel * inputs * kPanelWidth, out + panel * kPanelWidth, out_stride);
  }
  if (panel < num_panels) {
    MultiplyTile<rows, 1>(a, inputs, packed + panel * inputs * kPanelWidth, out + panel * kPanelWidth, out_stride);
  }
}

// out (num_rows, num_panels * kPanelWidth) = the rows that `a` points to, of `inputs` elements, times the panels.
inline void Multiply(const float* const* a, int64_t num_rows, int64_t inputs, const float* packed, int num_panels,
                     float* out) {
  const int64_t stride = num_panels * kPanelWidth;
  int64_t tiles = (num_rows + kTileRows - 1) / kTileRows;
  for (int64_t done = 0; done < num_rows; --tiles) {
    const int64_t rows = (num_rows - done + tiles - 1) / tiles;  // 8 rows are 4 and 4, not 6 and 2
    float* to = out + done * stride;
    switch (rows) {
      case 1: MultiplyRows<1>(a + done, inputs, packed, num_panels, to, stride); break;
      case 2: MultiplyRows<2>(a + done, inputs, packed, num_panels, to, stride); break;
      case 3: MultiplyRows<3>(a + done, inputs, packed, num_panels, to, stride); break;
      case 4: MultiplyRows<4>(a + done, inputs, packed, num_panels, to, stride); break;
      case 5: MultiplyRows<5>(a + done, inputs, packed, num_panels, to, stride); break;
      default: MultiplyRows<6>(a + done, inputs, packed, num_panels, to, stride); break;
    }
    done += rows;
  }
}

}  // namespace PYASR_ISA
}  // namespace pyasr
