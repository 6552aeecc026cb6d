// What launching kernels needs, for headers that must not need CUDA's own.
//
// The rules of all launchers here: pointers are device memory that the caller owns, scratch included; work is put on
// the given stream and nothing waits for it, so launches can be captured into a graph; nothing is allocated. A launch
// that CUDA refuses throws std::runtime_error. Sizes are checked here or in the binding, contents only where it says
// so.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace pyasr {

using CudaStream = CUstream_st*;

// Makes a device current for this thread, and the former one again at the end.
class CudaDeviceGuard {
 public:
  explicit CudaDeviceGuard(int device);
  ~CudaDeviceGuard();
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

 private:
  int former_ = -1;
};

}  // namespace pyasr
