// Addresses as Python has them.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "base/cuda.h"

namespace pyasr {

using Address = uintptr_t;

template <typename T>
T* Pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

inline CudaStream StreamOf(Address address) { return Pointer<CUstream_st>(address); }

}  // namespace pyasr
