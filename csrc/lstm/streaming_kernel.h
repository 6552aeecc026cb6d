// The inner loops of streaming.cc, one copy for each instruction set (base/isa.h), and the layout of weights they read.
//
// A matrix (rows, K) lies in panels of 8 vectors of rows, all K columns of a panel together, so that one pass over a
// panel, from its first byte to its last, adds its product to 8 vectors of sums that stay in registers:
//
//   panel     [column step 0: vector 0 .. vector 7] [column step 1: ...] ...
//   fp32      a step is one column;   a vector: kLanes floats, one a row
//   bf16      a step is one column;   two vectors together: row of the first, row of the second, ... (kLanes of each)
//   int8      a step is two columns;  a vector: both columns of a row, both of the next, ...
//             with avx512vnni it is four columns, and 128 is added to every weight
//
// In the matrices of a layer a panel holds all four gates of 2 kLanes hidden units (vectors 2 g and 2 g + 1 are gate g,
// in torch's order input, forget, cell, output), so the new cell and output follow from it alone. Behind the panel of
// the input weights lies the panel of the recurrent ones, of the same rows: a step of one frame reads each layer's
// weights as one sequential stream. What a panel has too many of (units past H, rows past S, an odd column) is zero.
#pragma once

#include <cstdint>

#include "base/isa.h"

namespace pyasr {

enum class Precision : int32_t { kFp32, kBf16, kInt8 };

constexpr int kPanelVectors = 8;

// The largest magnitude of a weight or an activation that is rounded for int8.
constexpr int32_t kInt8Levels = 127;

// Columns of a matrix, at most, whose products of int8 are added up exactly.
constexpr int64_t kMaxInt8Columns = 1 << 16;

struct PackedMatrix {
  const uint8_t* data = nullptr;  // of the first panel
  int64_t panel_stride = 0;       // bytes
  int64_t steps = 0;
  const float* scale = nullptr;  // int8: what a weight of 1 stands for, (panels, rows of a panel)
};

// How a vector was rounded: what 1 stands for, and the sum of what it was rounded to.
struct Rounding {
  float scale = 0;
  int32_t sum = 0;
};

// Vectors to multiply with, `stride` elements apart: `values`, or for int8 `quantised` as Quantise leaves them, vector i
// with rounding[i * rounding_stride].
struct Activations {
  const float* values = nullptr;
  const int16_t* quantised = nullptr;
  const Rounding* rounding = nullptr;
  int64_t stride = 0;
  int64_t rounding_stride = 0;
};

// Where rows of results are: `stride` floats apart.
struct Rows {
  float* data = nullptr;
  int64_t stride = 0;
};

// clang-format off
PYASR_DECLARE_ISA(
  int Lanes();

  // Columns of a step of int8: 2, or 4 with 128 added to every weight.
  int Int8Columns();

  // Adds the product of the matrix's panel with each of `count` activations to sums (count, 8 vectors). Every sum is
  // formed in the same order, whatever `count`: a row's bits do not depend on its company.
  void MultiplyPanel(Precision precision, const PackedMatrix& matrix, int64_t panel, const Activations& x,
                     int64_t count, const Rows& sums);

  // From the gates' sums (count, 8 vectors) of a panel and its 2 kLanes cells: the new cells, in place, and outputs.
  void CellPanel(const Rows& sums, int64_t count, const Rows& cell, const Rows& hidden);

  // q = round(x * (127 / max|x|)), half to even; scale is max|x| / 127: NaN where x holds NaN or infinity. A maximum
  // below 1e-30 counts as 0. size is a multiple of kLanes. Where a step has four columns q are bytes, in the first half.
  Rounding Quantise(const float* x, int64_t size, int16_t* q);

  // out = logits - log(sum of exp(logits)), natural log. padded_size is a multiple of kLanes; behind the first `size`
  // logits there is -inf.
  void LogSoftmax(const float* logits, int64_t padded_size, int64_t size, float* out);
)
// clang-format on

}  // namespace pyasr
