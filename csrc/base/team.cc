#include "base/team.h"

#include <dlfcn.h>

#include <system_error>
#include <vector>

namespace pyasr {
namespace {

using Body = std::function<void(int, int)>;

// Entry points of an OpenMP runtime (GNU's, or LLVM's and Intel's, which have them for its sake), looked up when first
// needed; null without one. The extension itself links none: two in one process would be two pools.
struct OpenMp {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
  int (*thread_num)();
  int (*num_threads)();

  OpenMp() {
    Find("GOMP_parallel", &parallel);
    Find("omp_get_thread_num", &thread_num);
    Find("omp_get_num_threads", &num_threads);
  }
  bool complete() const { return parallel != nullptr && thread_num != nullptr && num_threads != nullptr; }

  template <typename Function>
  static void Find(const char* name, Function* function) {
    *function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  }
};

const OpenMp& Runtime() {
  static const OpenMp runtime;
  return runtime;
}

void CallMember(void* body) {
  (*static_cast<const Body*>(body))(Runtime().thread_num(), Runtime().num_threads());
}

// Threads for this call alone. How many there are is known when all have been asked for; until then they wait.
void RunOwnThreads(int num_threads, const Body& body) {
  std::atomic<int> size{0};
  std::vector<std::thread> threads;
  try {
    for (int member = 1; member < num_threads; ++member) {
      threads.emplace_back([&, member] {
        while (size.load(std::memory_order_acquire) == 0) std::this_thread::yield();
        body(member, size.load(std::memory_order_relaxed));
      });
    }
  } catch (const std::system_error&) {
    // The system gives no more: those there are make the team.
  }
  const int all = static_cast<int>(threads.size()) + 1;
  size.store(all, std::memory_order_release);
  body(0, all);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

void RunTeam(int num_threads, const Body& body) {
  if (num_threads <= 1) {
    body(0, 1);
  } else if (Runtime().complete()) {
    Runtime().parallel(&CallMember, const_cast<Body*>(&body), static_cast<unsigned>(num_threads), 0);
  } else {
    RunOwnThreads(num_threads, body);
  }
}

}  // namespace pyasr
