// Instruction sets that kernels are compiled for, and the one that is used.
//
// A kernel's inner loops stand in a file KERNEL.isa.cc, which CMake compiles once for each set, every time into a
// namespace of its own: PYASR_ISA is `baseline`, `avx2`, `avx512` or `avx512vnni` there. The file beside it, KERNEL.cc, checks the
// arguments and calls the one that PYASR_FOR_ISA picks at run time. So one wheel serves old and new processors.
//
// An .isa.cc file includes simd.h and span.h alone: whatever inline function of a library it used could be kept by the
// linker, compiled for a new processor, as the one copy for everybody.
#pragma once

#include <cstdint>

namespace pyasr {

// Each includes those before it. kAvx2: with FMA, F16C and BMI2 (x86-64-v3). kAvx512: F, BW, CD, DQ, VL (x86-64-v4).
// kAvx512Vnni: products of small integers that are added up in one instruction (Cascade Lake, Zen 4).
enum class Isa : int32_t { kBaseline, kAvx2, kAvx512, kAvx512Vnni };

const char* IsaName(Isa isa);

// The best set of this processor that this build has.
Isa BestIsa();

// The one in use: the best, or what the environment's PYASR_ISA names (read once). Throws std::invalid_argument when
// that is unknown or more than this processor has.
Isa ActiveIsa();

}  // namespace pyasr

// The function of that name in the namespace of the set in use: PYASR_FOR_ISA(PackRows)(arguments).
#if defined(PYASR_HAVE_X86)
#define PYASR_FOR_ISA(function)                                                         \
  (::pyasr::ActiveIsa() == ::pyasr::Isa::kAvx512Vnni ? &::pyasr::avx512vnni::function \
   : ::pyasr::ActiveIsa() == ::pyasr::Isa::kAvx512   ? &::pyasr::avx512::function     \
   : ::pyasr::ActiveIsa() == ::pyasr::Isa::kAvx2     ? &::pyasr::avx2::function       \
                                                     : &::pyasr::baseline::function)
// Declares functions in all of these namespaces: PYASR_DECLARE_ISA(void PackRows(int n); int Other(int n);)
#define PYASR_DECLARE_ISA(...)             \
  namespace baseline { __VA_ARGS__ }       \
  namespace avx2 { __VA_ARGS__ }           \
  namespace avx512 { __VA_ARGS__ }         \
  namespace avx512vnni { __VA_ARGS__ }
#else
#define PYASR_FOR_ISA(function) (&::pyasr::baseline::function)
#define PYASR_DECLARE_ISA(...) \
  namespace baseline { __VA_ARGS__ }
#endif
