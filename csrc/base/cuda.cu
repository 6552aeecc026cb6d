#include "base/cuda.h"

#include "base/cuda_check.h"

namespace pyasr {

CudaDeviceGuard::CudaDeviceGuard(int device) {
  CheckCuda(cudaGetDevice(&former_), "cudaGetDevice");
  if (former_ != device) CheckCuda(cudaSetDevice(device), "cudaSetDevice");
}

CudaDeviceGuard::~CudaDeviceGuard() { cudaSetDevice(former_); }

}  // namespace pyasr
