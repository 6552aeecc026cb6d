// The inner loop of PackTopk: one row of logits, read once.
#pragma once

#include <cstdint>

#include "base/isa.h"

namespace pyasr {

// The upper half of a float32.
struct Bf16 {
  uint16_t bits;
};

constexpr int kMostSelected = 64;

struct TopkSelection {
  bool valid;  // false: the row holds NaN or +inf, or nothing but -inf, and the rest says nothing
  double sum;   // of exp(x - maximum) over the row
  double head;  // the same over the k best
  float logit[kMostSelected];  // the k best, descending; of equal ones the lower id comes first
  int32_t id[kMostSelected];
};

// 1 <= k <= min(kMostSelected, size). Reads ahead at `next`, where the row to come begins; any address does no harm.
// The result is the same bits in every instruction set that fuses multiply-adds.
PYASR_DECLARE_ISA(
    void SelectTopk(const float* row, int64_t size, int k, const float* next, TopkSelection* selection);
    void SelectTopkBf16(const Bf16* row, int64_t size, int k, const Bf16* next, TopkSelection* selection);)

}  // namespace pyasr
