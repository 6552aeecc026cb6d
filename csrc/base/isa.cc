#include "base/isa.h"

#include <cstdlib>
#include <string>

#include "base/check.h"

namespace pyasr {
namespace {

Isa Choose() {
  const char* named = std::getenv("PYASR_ISA");
  if (named == nullptr || *named == '\0') return BestIsa();
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni}) {
    if (std::string(named) != IsaName(isa)) continue;
    PYASR_CHECK(isa <= BestIsa(), "PYASR_ISA=", named, ": this processor has no more than ", IsaName(BestIsa()));
    return isa;
  }
  Fail("PYASR_ISA=", named, ": there are baseline, avx2, avx512 and avx512vnni");
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kBaseline: return "baseline";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512vnni";
  }
  return "?";
}

Isa BestIsa() {
#if defined(PYASR_HAVE_X86)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c") ||
      !__builtin_cpu_supports("bmi2")) {
    return Isa::kBaseline;
  }
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (!avx512) return Isa::kAvx2;
  return __builtin_cpu_supports("avx512vnni") ? Isa::kAvx512Vnni : Isa::kAvx512;
#else
  return Isa::kBaseline;
#endif
}

Isa ActiveIsa() {
  static const Isa isa = Choose();
  return isa;
}

}  // namespace pyasr
