// Parallel loop over independent items.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace pyasr {

// Calls body(i) for i in [0, n) on `num_threads` threads, the calling one among them. Items are handed
// out one by one, so their order over threads is not defined: body must write only what belongs to
// item i. The first exception stops the hand-out and is rethrown here after all threads have ended.
template <typename Body>
void ParallelFor(int64_t n, int num_threads, const Body& body) {
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  auto work = [&] {
    for (int64_t i; (i = next.fetch_add(1)) < n;) {
      try {
        body(i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(n);
      }
    }
  };
  std::vector<std::thread> threads;
  const int64_t extra = num_threads < n ? num_threads - 1 : n - 1;
  for (int64_t t = 0; t < extra; ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace pyasr
