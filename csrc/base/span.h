// Views of memory that belongs to somebody else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyasr {

template <typename T>
struct Span {
  T* data = nullptr;
  int64_t size = 0;
  T& operator[](int64_t i) const { return data[i]; }
  T* begin() const { return data; }
  T* end() const { return data + size; }
};

// Row-major, rows `stride` elements apart.
template <typename T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;
  T* row(int64_t i) const { return data + i * stride; }
};

}  // namespace pyasr
