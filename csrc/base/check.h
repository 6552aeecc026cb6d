// Checks that stay in release builds: a failed one throws with both values, and the binding turns it
// into a Python ValueError.
#pragma once

#include <sstream>
#include <stdexcept>

namespace pyasr {

template <typename... Parts>
[[noreturn]] void Fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

}  // namespace pyasr

#define PYASR_CHECK(condition, ...)              \
  do {                                           \
    if (!(condition)) ::pyasr::Fail(__VA_ARGS__); \
  } while (false)

#define PYASR_CHECK_EQ(a, b, what) PYASR_CHECK((a) == (b), what, ": ", (a), " is not ", (b))
