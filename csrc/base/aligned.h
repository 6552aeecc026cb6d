// Floats that begin where a cache line does, so that no vector of an aligned row straddles two.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace pyasr {

constexpr std::align_val_t kCacheLine{64};

struct AlignedDelete {
  void operator()(float* floats) const { ::operator delete[](floats, kCacheLine); }
};
using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

// Uninitialised.
inline AlignedFloats MakeAlignedFloats(int64_t size) {
  return AlignedFloats(static_cast<float*>(::operator new[](static_cast<size_t>(size) * sizeof(float), kCacheLine)));
}

}  // namespace pyasr
