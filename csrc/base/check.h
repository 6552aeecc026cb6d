// Checks that stay in release builds: a failed one throws with both values, and the binding turns it
// into a Python ValueError.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace pyasr {

// As streams write them, but without streams: a process that has loaded torch for CUDA was seen to crash in those of a
// module that it loaded later.
template <typename T>
void AppendTo(std::string* message, const T& part) {
  if constexpr (std::is_floating_point_v<T>) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%g", static_cast<double>(part));
    *message += digits;
  } else if constexpr (std::is_arithmetic_v<T>) {
    *message += std::to_string(part);
  } else {
    *message += part;
  }
}

template <typename... Parts>
[[noreturn]] void Fail(const Parts&... parts) {
  std::string message;
  (AppendTo(&message, parts), ...);
  throw std::invalid_argument(message);
}

}  // namespace pyasr

#define PYASR_CHECK(condition, ...)              \
  do {                                           \
    if (!(condition)) ::pyasr::Fail(__VA_ARGS__); \
  } while (false)

#define PYASR_CHECK_EQ(a, b, what) PYASR_CHECK((a) == (b), what, ": ", (a), " is not ", (b))
