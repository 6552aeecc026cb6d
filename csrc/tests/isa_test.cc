#include "base/isa.h"

#include <cstdlib>
#include <string>

#include "tests/test.h"

namespace pyasr {

PYASR_DECLARE_ISA(int CheckSimd();)

namespace {

TEST(TheSetInUseIsOneThatThisProcessorHas) {
  EXPECT(ActiveIsa() <= BestIsa());
  const char* named = std::getenv("PYASR_ISA");
  if (named != nullptr) EXPECT(std::string(named) == IsaName(ActiveIsa()));
}

TEST(VectorsCountAsPlainLoopsDo) {
  const int failed = PYASR_FOR_ISA(CheckSimd)();
  PYASR_CHECK(failed == 0, IsaName(ActiveIsa()), ": check number ", failed);
}

}  // namespace
}  // namespace pyasr
