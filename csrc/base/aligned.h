// Arrays that begin where a cache line does, so that no vector of an aligned row straddles two.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace pyasr {

constexpr std::align_val_t kCacheLine{64};

struct AlignedDelete {
  void operator()(void* array) const { ::operator delete[](array, kCacheLine); }
};
template <typename T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

// Uninitialised.
template <typename T>
AlignedArray<T> MakeAligned(int64_t size) {
  return AlignedArray<T>(static_cast<T*>(::operator new[](static_cast<size_t>(size) * sizeof(T), kCacheLine)));
}

}  // namespace pyasr
