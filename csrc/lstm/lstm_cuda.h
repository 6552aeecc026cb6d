// The recurrence of an LSTM layer on a GPU: the results of lstm.h, in float32 or with tensors of bfloat16, whose cells
// and sums are float32 all the same.
//
// Three ways. Step by step: for each frame a product by cuBLAS, which comes from outside, and one pass over gates, cell
// and output (LstmCellForward, LstmCellBackward). A frame then costs two launches and reads all recurrent weights from
// the L2 cache.
//
// Persistent (LstmPersistentForward, LstmPersistentBackward; bfloat16): one launch for all frames. Blocks, which all
// run at once, share units and sequences out among them; each keeps the weights of its units in shared memory, and
// between frames waits only for the blocks of the same sequences, at a counter in global memory. What a frame costs at
// the least, for H units, of which a block has U, and N sequences in G groups, M = N / G each:
//
//   forward    flops     8 N H^2 in all: 2 * M * 4 U * H a block, on tensor cores
//              bytes     2 M H of outputs into each block, from the L2 cache (8 M H backwards: gradients of four gates)
//              shared    8 U H of weights, read once for each 16 sequences
//              waiting   write, fence, count up, see it: about 1.5 us on an H100, by estimate
//
// For H = 768 in bfloat16 on 132 multiprocessors, U = 32, N = 64, G = 4: 0.7 us of tensor cores as mma.sync drives
// them, 1536 cycles (0.9 us) of shared memory, 24 KB a block from the L2 cache: the waiting is as long as the work.
//
// The same for Hopper GPUs, by wgmma (LstmHopperForward, LstmHopperBackward; hopper_cuda.h), and for several parts
// beside each other. A tile of M = 64 sequences and 768 units costs a block, at 1.98 GHz:
//
//   tensor cores   2 * 64 * 128 * 768 flops    3072 cycles
//   shared memory  weights in it 128 KB, states read by two warpgroups 192 KB and written once 96 KB, sums written and
//                  read 64 KB, what goes through the first cache some 60 KB: 4300 cycles
//   cells          2048, of 10 exponentials and reciprocals each at 16 a cycle: 1280 cycles
//   L2 cache       96 KB
//
// On an H200 it takes 6900 cycles where a block has four such tiles, with shared memory and the first cache busy for
// 72 % of the time (ncu), the L2 cache for 57 %, and 5.5 us, 11,000 cycles, where it has one and waits for the others.
#pragma once

#include <cstdint>
#include <vector>

#include "base/cuda.h"
#include "lstm/lstm.h"

namespace pyasr {

enum class LstmType : int { kFloat32, kBfloat16 };

// All of one type but cells, gates and what says float; shapes as in lstm.h, `lengths` int64 (N,) on the device, taken
// into [0, T].
struct LstmCudaForward {
  const void* projected;    // (T, N, 4 H)
  const void* weight_hh;    // (4 H, H), for the persistent kernel
  const void* first_state;  // (N, H)
  const float* first_cell;  // (N, H)
  void* output;             // (T, N, H), rows directions * H apart
  void* last_state;         // (N, H); step by step also the state between frames
  float* last_cell;         // (N, H); the cell between frames
  void* gates;              // (T, N, 4 H) for the backward pass; null: not wanted. For Hopper it may be `projected`
  float* cells;             // (T, N, H); null: not wanted
};

struct LstmCudaBackward {
  const void* weight_hh;
  const float* first_cell;
  const void* gates;
  const float* cells;
  const void* d_output;      // (T, N, H), rows directions * H apart
  const void* d_last_state;  // (N, H)
  const float* d_last_cell;  // (N, H)
  void* d_projected;         // (T, N, 4 H)
  float* d_first_cell;       // (N, H); the cell's gradient between frames
};

// last_state and last_cell become the first ones: before the first frame of LstmCellForward.
void LstmCellStart(LstmType type, const LstmShape& shape, const LstmCudaForward& d, CudaStream stream);

// Frame number `step` of a direction's order: recurrent (N, 4 H), the product of last_state with the weights, of
// `type`. Where a sequence has no such frame its output is 0, and its state stays.
void LstmCellForward(LstmType type, const LstmShape& shape, bool reverse, int64_t step, const int64_t* lengths,
                     const void* recurrent, const LstmCudaForward& d, CudaStream stream);

// d_first_cell becomes d_last_cell: before the first call of LstmCellBackward.
void LstmCellBackwardStart(const LstmShape& shape, const LstmCudaBackward& d, CudaStream stream);

// from_next (N, H): the product of the gates' gradients of the frame that comes next with the weights, of `type`; not
// read where there is none. d_projected of the frame is written: zeros where a sequence has no such frame.
void LstmCellBackward(LstmType type, const LstmShape& shape, bool reverse, int64_t step, const int64_t* lengths,
                      const void* from_next, const LstmCudaBackward& d, CudaStream stream);

// How the persistent kernels would share the work out on a device; units 0: they cannot run.
struct LstmPlan {
  int units;   // of a block
  int slices;  // of units
  int groups;  // of sequences
  int rows;    // sequences of a group, a multiple of 16
  int tiles;   // of 16 sequences, multiplied together
  int64_t shared_bytes;
};
LstmPlan PlanLstmForward(const LstmShape& shape);  // for the current device
LstmPlan PlanLstmBackward(const LstmShape& shape);

constexpr int64_t kLstmMostFrames = (1 << 20) - 1;  // of the kernels for all frames

// Counters of the barriers, which the launchers clear: this many bytes.
constexpr int64_t kLstmScratchBytes = 4096;

void LstmPersistentForward(const LstmShape& shape, const int64_t* lengths, const LstmCudaForward* directions,
                           void* scratch, CudaStream stream);
void LstmPersistentBackward(const LstmShape& shape, const int64_t* lengths, const LstmCudaBackward* directions,
                            void* scratch, CudaStream stream);

// On Hopper GPUs, with 64 to 768 units, a multiple of 64: wgmma instead of mma.sync, and parts that run beside each
// other, directions of a layer or layers of a wavefront, each a stretch of time.
template <typename Tensors>
struct LstmPart {
  Tensors tensors;
  bool reverse;
  // Steps of its order. Forward, a first one above 0 goes on from last_state and last_cell, which hold what the part
  // before left there; backward, a last one that is not the last of all, from d_first_cell and from d_projected of the
  // step behind it.
  int first, count;
};
constexpr int kLstmMostParts = 8;

// tile 0: they cannot run.
struct LstmHopperPlan {
  int tile;      // sequences multiplied together
  int tiles;     // of a group
  int groups;    // of sequences
  int rows;      // sequences of a group
  int slices;    // blocks of a part and group
  int parts;
  int operands;  // of a tile: states forward, gradients of four gates backward
  int64_t scratch_bytes;
};
// For the current device; tile 0: the best one.
LstmHopperPlan PlanLstmHopperForward(const LstmShape& shape, int64_t parts, int tile = 0);
LstmHopperPlan PlanLstmHopperBackward(const LstmShape& shape, int64_t parts, int tile = 0);

// scratch: at least as many bytes as the plan says.
void LstmHopperForward(const LstmShape& shape, const int64_t* lengths,
                       const std::vector<LstmPart<LstmCudaForward>>& parts, int tile, void* scratch,
                       int64_t scratch_bytes, CudaStream stream);
void LstmHopperBackward(const LstmShape& shape, const int64_t* lengths,
                        const std::vector<LstmPart<LstmCudaBackward>>& parts, int tile, void* scratch,
                        int64_t scratch_bytes, CudaStream stream);

}  // namespace pyasr
