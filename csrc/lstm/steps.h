// One time step of the recurrence for a slice of the units, compiled for every instruction set (lstm_forward.isa.cc,
// lstm_backward.isa.cc). Plain structs only: see base/isa.h.
//
// Units are handled in blocks of UnitsPerBlock(). A block's packed weights are 4 panels (panels.h) of `units` inputs
// each for the forward step (the four gates of its units) and one panel of 4 `units` inputs for the backward step, in
// both cases 4 * units * UnitsPerBlock() floats; missing units of the last block are zeros.
#pragma once

#include <cstdint>

#include "base/isa.h"

namespace pyasr {

// What the step needs of one sequence; gates lie as torch has them: i, f, g, o, each `units` long.
struct ForwardRow {
  const float* projected;    // (4 units): input product and biases
  const float* cell_before;  // (units)
  float* gates;              // (4 units): gates behind their nonlinearity, or null where nobody needs them
  float* cell;               // (units); may be cell_before
  float* output;             // (units)
};

struct BackwardRow {
  const float* d_output;     // (units): from above
  const float* d_last;       // (units): gradient of the final output, at the step that gave it; else null
  const float* gates;        // (4 units): as the forward step left them
  const float* cell_before;  // (units)
  const float* cell;         // (units)
  float* d_cell;             // (units): gradient of this step's cell from later ones; becomes that of the one before
  float* d_gates;            // (4 units): gradient before the nonlinearity, that is of `projected`
};

// The blocks [begin, end) of a layer of so many units.
struct UnitSlice {
  int64_t units;
  int64_t begin;
  int64_t end;
};

// before[r] is what the weights multiply: row r's output of the step before (units), or the d_gates of the step after
// (4 units). packed: of all blocks. scratch: num_rows * 4 * UnitsPerBlock() floats.
using ForwardStepFunction = void(const ForwardRow* rows, const float* const* before, int64_t num_rows, UnitSlice slice,
                                 const float* packed, float* scratch);
using BackwardStepFunction = void(const BackwardRow* rows, const float* const* before, int64_t num_rows,
                                  UnitSlice slice, const float* packed, float* scratch);
// weight: (4 units, units), as torch's weight_hh.
using PackFunction = void(const float* weight, UnitSlice slice, float* packed);

PYASR_DECLARE_ISA(
  int64_t UnitsPerBlock();
  PackFunction PackForward;
  PackFunction PackBackward;
  ForwardStepFunction ForwardStep;
  BackwardStepFunction BackwardStep;
)

}  // namespace pyasr
