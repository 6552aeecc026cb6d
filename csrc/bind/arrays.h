// NumPy arrays as views. Types must match exactly: nothing is converted or copied silently.
#pragma once

#include <pybind11/numpy.h>

#include "base/check.h"
#include "base/span.h"

namespace pyasr {

template <typename T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

template <typename T>
Span<const T> View(const Array<T>& array, const char* name) {
  PYASR_CHECK_EQ(array.ndim(), 1, std::string("dimensions of ") + name);
  return {array.data(), array.size()};
}

template <typename T>
MatrixView<const T> MatrixOf(const Array<T>& array, const char* name) {
  PYASR_CHECK_EQ(array.ndim(), 2, std::string("dimensions of ") + name);
  return {array.data(), array.shape(0), array.shape(1), array.shape(1)};
}

}  // namespace pyasr
