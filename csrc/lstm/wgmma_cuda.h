// Instructions of Hopper GPUs (sm_90a) that CUDA has no functions for, for .cu files: PTX ISA 8.0, "Parallel
// Synchronization and Communication", "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once

#include <cstdint>

namespace pyasr {
namespace hopper {

__device__ __forceinline__ unsigned AddressOf(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// --- barriers in shared memory, and what they wait for ---

__device__ __forceinline__ void InitBarrier(uint64_t* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(AddressOf(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void ArriveAt(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(AddressOf(barrier)) : "memory");
}
__device__ __forceinline__ void ArriveExpecting(uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(AddressOf(barrier)), "r"(bytes)
               : "memory");
}
// By a whole warp, once.
__device__ __forceinline__ void ArriveOfWarp(uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) ArriveAt(barrier);
}
// Until the phase of this parity is over. A new barrier is as if one of parity 1 had been.
__device__ __forceinline__ void WaitAt(uint64_t* barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}" ::"r"(AddressOf(barrier)),
      "r"(parity)
      : "memory");
}
// Arriving and waiting order what a block does, by default; CUTLASS counts on the same for clusters, whose blocks here
// exchange nothing but what st.async brings.

// By a whole warp, once at this barrier of each of the cluster's blocks, of which there are so many.
__device__ __forceinline__ void ArriveAtCluster(uint64_t* barrier, unsigned blocks) {
  __syncwarp();
  if (threadIdx.x % 32 >= blocks) return;
  asm volatile(
      "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(AddressOf(barrier)),
      "r"(threadIdx.x % 32)
      : "memory");
}
// To the same place in the shared memory of a block of the cluster, whose barrier expects the bytes.
__device__ __forceinline__ void SendToBlock(float* p, uint64_t* barrier, unsigned rank, float2 two) {
  asm volatile(
      "{\n.reg .b32 there, expecting;\nmapa.shared::cluster.u32 there, %0, %2;\n"
      "mapa.shared::cluster.u32 expecting, %1, %2;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [there], {%3, %4}, [expecting];\n}" ::"r"(
          AddressOf(p)),
      "r"(AddressOf(barrier)), "r"(rank), "f"(two.x), "f"(two.y)
      : "memory");
}
// From global memory: `bytes`, which the barrier expects.
__device__ __forceinline__ void CopyBulk(void* to, const void* from, unsigned bytes, uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   AddressOf(to)),
               "l"(from), "r"(bytes), "r"(AddressOf(barrier))
               : "memory");
}
__device__ __forceinline__ void SyncCluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// By whole warpgroups.
template <int kRegisters>
__device__ __forceinline__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void GiveRegistersBack() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Between ordinary accesses and those of bulk copies and tensor cores.
__device__ __forceinline__ void FenceShared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void FenceGlobal() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// --- the product on tensor cores ---

// A K-major operand with the 128-byte swizzle: groups of eight rows 1024 bytes apart.
__device__ __forceinline__ uint64_t DescriptorOf(const void* p) {
  return static_cast<uint64_t>((AddressOf(p) & 0x3ffff) >> 4) | uint64_t{1} << 16 | uint64_t{64} << 32 |
         uint64_t{1} << 62;
}
constexpr uint64_t kNextColumns = 2;  // 16 columns on, in a descriptor

__device__ __forceinline__ void WgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void WgmmaCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// d += a b, or d = a b where `add` is 0, for a (64, 16) in shared memory or in registers, and b (kTile, 16)^T in shared
// memory: of each warp's 16 rows a thread has d[4 j + 2 i + e], row lane / 4 + 8 i, column 8 j + lane % 4 * 2 + e.
#define PYASR_D8(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define PYASR_N8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define PYASR_N16 PYASR_N8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define PYASR_N32 PYASR_N16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define PYASR_WGMMA(n, registers, shared_a, shared_b, shared_add, own_a, own_b, own_add, ...)                         \
  __device__ __forceinline__ void Wgmma(float(&d)[n / 2], uint64_t a, uint64_t b, int add) {                          \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " shared_add ", 0;\n"                                              \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, " shared_a ", " shared_b  \
                 ", p, 1, 1, 0, 0;\n}"                                                                                \
                 : __VA_ARGS__                                                                                        \
                 : "l"(a), "l"(b), "r"(add));                                                                         \
  }                                                                                                                   \
  __device__ __forceinline__ void Wgmma(float(&d)[n / 2], const unsigned(&a)[4], uint64_t b, int add) {               \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " own_add ", 0;\n"                                                 \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" registers "}, {" own_a "}, " own_b      \
                 ", p, 1, 1, 0;\n}"                                                                                   \
                 : __VA_ARGS__                                                                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));                                     \
  }
PYASR_WGMMA(16, PYASR_N8, "%8", "%9", "%10", "%8,%9,%10,%11", "%12", "%13", PYASR_D8(d, 0))
PYASR_WGMMA(32, PYASR_N16, "%16", "%17", "%18", "%16,%17,%18,%19", "%20", "%21", PYASR_D8(d, 0), PYASR_D8(d, 8))
PYASR_WGMMA(64, PYASR_N32, "%32", "%33", "%34", "%32,%33,%34,%35", "%36", "%37", PYASR_D8(d, 0), PYASR_D8(d, 8),
            PYASR_D8(d, 16), PYASR_D8(d, 24))
#undef PYASR_WGMMA
#undef PYASR_N32
#undef PYASR_N16
#undef PYASR_N8
#undef PYASR_D8

}  // namespace hopper
}  // namespace pyasr
