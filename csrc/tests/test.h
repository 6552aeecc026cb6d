// The few macros that the C++ tests need; the kernels are tested in depth from Python, these tests
// exist to run them under the sanitizers.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace pyasr_test {

using Test = std::pair<std::string, std::function<void()>>;

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

struct Registration {
  Registration(const char* name, std::function<void()> body) { Tests().emplace_back(name, std::move(body)); }
};

template <typename Body>
bool Throws(const Body& body) {
  try {
    body();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

}  // namespace pyasr_test

#define TEST(name)                                                       \
  static void name();                                                    \
  static const pyasr_test::Registration name##_registration(#name, name); \
  static void name()
#define EXPECT(condition) PYASR_CHECK(condition, __FILE__, ":", __LINE__, ": ", #condition)
