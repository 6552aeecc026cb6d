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
  // Returns when `size` threads have called it, each with the same size. Spins, since a step takes microseconds; not for
  // long where there are more threads than processors, for the one that all wait for may need this one. (Who yields
  // while anything else wants the processor is away for milliseconds: a member spun for 30 us at first, and beside
  // other work steps of 0.7 ms took twice as long.)
  void Wait(int size) {
    static const int processors = static_cast<int>(std::thread::hardware_concurrency());
    const int enough = size <= processors ? kSpins : kSpins / 50;
    const uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
      if (spins < enough) {
        Pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr int kSpins = 100000;  // some 1.5 ms

  static void Pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
};

}  // namespace pyasr
