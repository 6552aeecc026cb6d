#include <cmath>
#include <limits>

#include "base/isa.h"
#include "tests/test.h"

namespace pyasr {

PYASR_DECLARE_ISA(void SimdMathAt(float x, float* exp, float* sigmoid, float* tanh);)

namespace {

struct Values {
  float exp, sigmoid, tanh;
};

Values At(float x) {
  Values v;
  PYASR_FOR_ISA(SimdMathAt)(x, &v.exp, &v.sigmoid, &v.tanh);
  return v;
}

void CheckWithin(double budget, float ours, double exact, const char* name, float x) {
  const double error = std::abs(ours - exact) / exact;
  PYASR_CHECK(error <= budget, name, "(", x, ") is ", ours, ", not ", exact, ": relative error ", error);
}

TEST(SimdMathIsWithinItsErrors) {
  for (double size = 1e-30; size < 87; size *= 1.0003) {
    for (const float x : {static_cast<float>(size), static_cast<float>(-size)}) {
      const Values v = At(x);
      CheckWithin(1.2e-7, v.exp, std::exp(static_cast<double>(x)), "Exp", x);
      CheckWithin(2e-7, v.sigmoid, 1 / (1 + std::exp(-static_cast<double>(x))), "Sigmoid", x);
      CheckWithin(2e-7, v.tanh, std::tanh(static_cast<double>(x)), "Tanh", x);
    }
  }
}

TEST(SimdMathEndsWell) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float x : {89.0f, 1e30f, infinity}) {
    EXPECT(At(x).exp == At(88.0f).exp && At(-x).exp == At(-87.0f).exp);
    EXPECT(At(x).sigmoid == 1 && At(-x).sigmoid >= 0 && At(-x).sigmoid <= 2e-38f);
    EXPECT(At(x).tanh == 1 && At(-x).tanh == -1);
  }
  EXPECT(At(0.0f).exp == 1 && At(0.0f).sigmoid == 0.5f && At(0.0f).tanh == 0 && std::signbit(At(-0.0f).tanh));
  const Values nan = At(std::nanf(""));
  EXPECT(std::isnan(nan.exp) && std::isnan(nan.sigmoid) && std::isnan(nan.tanh));
}

}  // namespace
}  // namespace pyasr
