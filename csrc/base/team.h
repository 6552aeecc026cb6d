// Threads that work in step: unlike the items of ParallelFor, the members of a team wait for each other.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

namespace pyasr {

// Calls body(member, size) once for each member in [0, size), all at the same time, one of them on the calling thread;
// 1 <= size <= num_threads, and less than num_threads where the system gives no more threads. `body` does not throw.
//
// In a process that has loaded an OpenMP runtime, as torch does, the members are that runtime's threads: they are awake
// from torch's last product, and other threads would share the processors with them while they wait for its next.
void RunTeam(int num_threads, const std::function<void(int member, int size)>& body);

// Where threads wait for each other, again and again. What one wrote before Wait, all see after it.
class Barrier {
 public:
  // Returns when `size` threads have called it, each with the same size. Spins, since a step takes microseconds, but
  // not for long: the thread that all wait for may need this processor.
  void Wait(int size) {
    const uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
      if (spins < kSpins) {
        Pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr int kSpins = 2000;  // some 30 microseconds

  static void Pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
};

}  // namespace pyasr
