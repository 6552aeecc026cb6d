// Functions of simd_math.h at single points; called by simd_math_test.cc, compiled for every set as a kernel is.
#include "base/simd_math.h"

namespace pyasr {
namespace PYASR_ISA {

// Each of the three at x: every lane computes the same.
void SimdMathAt(float x, float* exp, float* sigmoid, float* tanh) {
  float lanes[kLanes];
  Store(lanes, Exp(Fill(x)));
  *exp = lanes[kLanes - 1];
  Store(lanes, Sigmoid(Fill(x)));
  *sigmoid = lanes[kLanes - 1];
  Store(lanes, Tanh(Fill(x)));
  *tanh = lanes[kLanes - 1];
}

}  // namespace PYASR_ISA
}  // namespace pyasr
