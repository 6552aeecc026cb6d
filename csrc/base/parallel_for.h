// Parallel loop over independent items.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <type_traits>

#include "base/team.h"

namespace pyasr {

// Calls body(i) for i in [0, n) on a team of at most `num_threads` threads (team.h), the calling one among them. Items
// are handed out one by one in order, to whichever thread is free: body must write only what belongs to item i. A
// failure stops the hand-out; when all threads have ended, the exception of the lowest failed item is rethrown here.
// (All items below it were handed out before it, so this is the same one whatever the number of threads.)
// body may also take (i, member), 0 <= member < num_threads, for scratch that the items of one thread share.
template <typename Body>
void ParallelFor(int64_t n, int num_threads, const Body& body) {
  std::atomic<int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;
  int64_t error_item = n;
  auto work = [&](int member, int) {
    // Relaxed: items share nothing, and the results are published when the team ends. (A stronger order would also hide
    // races between items from the thread sanitizer.)
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
      try {
        if constexpr (std::is_invocable_v<Body, int64_t, int>) {
          body(i, member);
        } else {
          body(i);
        }
      } catch (...) {
        const std::lock_guard<std::mutex> lock(error_mutex);
        if (i < error_item) {
          error_item = i;
          error = std::current_exception();
        }
        next.store(n, std::memory_order_relaxed);
      }
    }
  };
  RunTeam(static_cast<int>(num_threads < n ? num_threads : n), work);
  if (error) std::rethrow_exception(error);
}

}  // namespace pyasr
