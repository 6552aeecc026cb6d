#include "base/team.h"

#include <vector>

#include "tests/test.h"

TEST(TeamMembersSeeWhatWasWrittenBeforeTheBarrier) {
  for (int threads : {1, 2, 3, 7}) {
    std::vector<int> turn(threads, 0);
    std::vector<int> wrong(threads, 0);
    int members = 0;
    pyasr::Barrier barrier;
    pyasr::RunTeam(threads, [&](int member, int size) {
      if (member == 0) members = size;
      for (int step = 1; step <= 50; ++step) {
        turn[member] = step;
        barrier.Wait(size);
        for (int other = 0; other < size; ++other) wrong[member] += turn[other] != step;
        barrier.Wait(size);
      }
    });
    EXPECT(members >= 1 && members <= threads);
    for (int count : wrong) EXPECT(count == 0);
  }
}
