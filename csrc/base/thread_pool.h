// Parallel loop over independent items.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace pyasr {

// Calls body(i) for i in [0, n) on at most `num_threads` threads, the calling one among them. Items are
// handed out one by one in order, to whichever thread is free: body must write only what belongs to
// item i. A failure stops the hand-out; when all threads have ended, the exception of the lowest failed
// item is rethrown here. (All items below it were handed out before it, so this is the same one whatever
// the number of threads.) Threads live for one call: nothing is left behind for a fork to trip over.
template <typename Body>
void ParallelFor(int64_t n, int num_threads, const Body& body) {
  std::atomic<int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;
  int64_t error_item = n;
  auto work = [&] {
    // Relaxed: items share nothing, and the results are published by join. (A stronger order would also hide
    // races between items from the thread sanitizer.)
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
      try {
        body(i);
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
  std::vector<std::thread> threads;
  const int64_t extra = num_threads < n ? num_threads - 1 : n - 1;
  try {
    for (int64_t t = 0; t < extra; ++t) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // The system gives no more threads: those there are, with this one, do all the work.
  }
  work();
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace pyasr
