#include "base/parallel_for.h"

#include <string>
#include <vector>

#include "tests/test.h"

TEST(ParallelForVisitsEveryItemOnce) {
  for (int threads : {1, 2, 7}) {
    for (int64_t n : {0, 1, 3, 1025}) {
      std::vector<int> visits(n);
      pyasr::ParallelFor(n, threads, [&](int64_t i) { ++visits[i]; });
      for (int count : visits) EXPECT(count == 1);
    }
  }
}

TEST(ParallelForTellsWhichThreadTakesAnItem) {
  for (int threads : {1, 4}) {
    std::vector<std::vector<int64_t>> taken(threads);  // written without a lock: each by its own thread
    pyasr::ParallelFor(1025, threads, [&](int64_t i, int member) { taken[member].push_back(i); });
    std::vector<int> visits(1025);
    for (const auto& items : taken) {
      for (int64_t i : items) ++visits[i];
    }
    for (int count : visits) EXPECT(count == 1);
  }
}

TEST(ParallelForPassesOnAnException) {
  EXPECT(pyasr_test::Throws([] {
    pyasr::ParallelFor(100, 4, [](int64_t i) {
      if (i == 42) throw std::invalid_argument("42");
    });
  }));
}

TEST(ParallelForReportsTheLowestFailedItem) {
  for (int repeat = 0; repeat < 50; ++repeat) {
    std::string message;
    try {
      pyasr::ParallelFor(100, 4, [](int64_t i) {
        if (i % 10 == 9) pyasr::Fail("item ", i);
      });
    } catch (const std::invalid_argument& error) {
      message = error.what();
    }
    EXPECT(message == "item 9");
  }
}
