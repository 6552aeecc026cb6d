#include <cstdio>
#include <exception>

#include "base/isa.h"
#include "tests/test.h"

int main() {
  try {
    std::printf("instruction set %s\n", pyasr::IsaName(pyasr::ActiveIsa()));
  } catch (const std::exception& error) {
    std::printf("skipped: %s\n", error.what());
    return 77;
  }
  int failed = 0;
  for (const auto& [name, body] : pyasr_test::Tests()) {
    try {
      body();
      std::printf("ok      %s\n", name.c_str());
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED  %s: %s\n", name.c_str(), error.what());
    }
  }
  return failed != 0;
}
