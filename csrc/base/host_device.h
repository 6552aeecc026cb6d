// Formats and formulas that host and device code share are written once, and compiled for both.
#pragma once

#ifdef __CUDACC__
#define PYASR_HOST_DEVICE __host__ __device__
#else
#define PYASR_HOST_DEVICE
#endif
