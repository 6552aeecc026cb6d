#include <cstdio>
#include <exception>

#include "tests/test.h"

int main() {
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
