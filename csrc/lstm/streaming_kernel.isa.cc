#include "lstm/streaming_kernel.h"

#include "base/simd.h"
#include "base/simd_math.h"

namespace pyasr {
namespace PYASR_ISA {
namespace {

// How weights of a precision are read, and what they are multiplied with.

// Sums of blocks of so many steps are added up in float32: that rounds less than one sum over all columns, and integer
// sums cannot overflow (128 columns x 127 x 127 < 2^31). A block of a panel, 16 KB of fp32 with AVX2, is still in the
// L1 cache when the next columns of activations need it.
constexpr int64_t kBlockSteps = 64;

struct Fp32 {
  using Weight = F32;
  static constexpr int64_t kStepValues = 1;            // of Values
  static constexpr int64_t kVectorBytes = 4 * kLanes;  // of one step
  static constexpr int64_t kBlock = kBlockSteps;
  static const float* Values(const Activations& x) { return x.values; }
  static PYASR_INLINE F32 Start(const Activations&, int64_t) { return F32{}; }
  static PYASR_INLINE void LoadTwo(const uint8_t* p, F32* w) {
    w[0] = Load(reinterpret_cast<const float*>(p));
    w[1] = Load(reinterpret_cast<const float*>(p) + kLanes);
  }
  static PYASR_INLINE F32 Broadcast(const float* x, int64_t step) { return Fill(x[step]); }
  static PYASR_INLINE F32 MultiplyAdd(F32 w, F32 x, F32 sum) { return Fma(w, x, sum); }
  static PYASR_INLINE void AddTo(float* sums, F32 sum, const PackedMatrix&, int64_t, const Activations&, int64_t) {
    Store(sums, Load(sums) + sum);
  }
};

struct Bf16 : Fp32 {
  static constexpr int64_t kVectorBytes = 2 * kLanes;
  static PYASR_INLINE void LoadTwo(const uint8_t* p, F32* w) {
    LoadBf16(reinterpret_cast<const uint16_t*>(p), w[0], w[1]);
  }
};

// Activations come in pairs of 16 bits, which are two columns or, as bytes, four.
struct AnyInt8 {
  static constexpr int64_t kStepValues = 2;
  static const int16_t* Values(const Activations& x) { return x.quantised; }
  static PYASR_INLINE I32 BroadcastBits(const int16_t* x, int64_t step) {
    int32_t bits;
    std::memcpy(&bits, x + kStepValues * step, sizeof bits);
    return Fill(bits);
  }
  static PYASR_INLINE void AddTo(float* sums, I32 sum, const PackedMatrix& matrix, int64_t row, const Activations& x,
                                 int64_t column) {
    const F32 scale = Load(matrix.scale + row) * x.rounding[column * x.rounding_stride].scale;
    Store(sums, Fma(ToFloat(sum), scale, Load(sums)));
  }
};

#if defined(__AVX512VNNI__)

// One instruction multiplies four unsigned bytes with four signed ones. 128 was added to the weights to make them
// unsigned; sums, exact over all columns, begin with what takes that away again.
struct Int8 : AnyInt8 {
  using Weight = I32;
  using Rounded = int8_t;  // an activation
  static constexpr int64_t kColumns = 4;
  static constexpr int64_t kVectorBytes = 4 * kLanes;
  static constexpr int64_t kBlock = kMaxInt8Columns;
  static PYASR_INLINE I32 Start(const Activations& x, int64_t column) {
    return Fill(-128 * x.rounding[column * x.rounding_stride].sum);
  }
  static PYASR_INLINE void LoadTwo(const uint8_t* p, I32* w) {
    w[0] = Load(reinterpret_cast<const int32_t*>(p));
    w[1] = Load(reinterpret_cast<const int32_t*>(p) + kLanes);
  }
  static PYASR_INLINE I32 Broadcast(const int16_t* x, int64_t step) { return BroadcastBits(x, step); }
  static PYASR_INLINE I32 MultiplyAdd(I32 w, I32 x, I32 sum) { return MultiplyAddFours(w, x, sum); }
};

#else

struct Int8 : AnyInt8 {
  using Weight = I16;
  using Rounded = int16_t;
  static constexpr int64_t kColumns = 2;
  static constexpr int64_t kVectorBytes = 2 * kLanes;
  static constexpr int64_t kBlock = kBlockSteps;
  static PYASR_INLINE I32 Start(const Activations&, int64_t) { return I32{}; }
  static PYASR_INLINE void LoadTwo(const uint8_t* p, I16* w) {
    w[0] = LoadWiden(reinterpret_cast<const int8_t*>(p));
    w[1] = LoadWiden(reinterpret_cast<const int8_t*>(p) + 2 * kLanes);
  }
  static PYASR_INLINE I16 Broadcast(const int16_t* x, int64_t step) { return (I16)BroadcastBits(x, step); }
  static PYASR_INLINE I32 MultiplyAdd(I16 w, I16 x, I32 sum) { return MultiplyAddPairs(w, x, sum); }
};

#endif

// A part of a product: `steps` steps of a panel from `first_step` on, and of the activations `Columns` from
// `first_column` on.
struct Part {
  int64_t panel, first_step, steps, first_column;
};

constexpr int64_t kPrefetchBytes = 2048;

// `Vectors` of the panel's vectors from `first_vector` on.
template <typename P, int Vectors, int Columns>
void MultiplyTile(const PackedMatrix& matrix, const Part& part, int first_vector, const Activations& x,
                  const Rows& sums_of_panel) {
  constexpr int64_t kStepBytes = kPanelVectors * P::kVectorBytes;
  const uint8_t* w = matrix.data + part.panel * matrix.panel_stride + part.first_step * kStepBytes +
                     first_vector * P::kVectorBytes;
  const auto* values = P::Values(x) + part.first_column * x.stride + part.first_step * P::kStepValues;
  float* sums = sums_of_panel.data + part.first_column * sums_of_panel.stride + first_vector * kLanes;
  const int64_t sums_stride = sums_of_panel.stride;

  decltype(P::Start(x, 0)) sum[Columns][Vectors];
  for (int c = 0; c < Columns; ++c) {
    for (int v = 0; v < Vectors; ++v) sum[c][v] = P::Start(x, part.first_column + c);
  }
  // The first to read a block fetches ahead: the processor's own prefetcher stops at the end of each page.
  const bool first = first_vector == 0 && part.first_column == 0;
#pragma GCC unroll 4
  for (int64_t step = 0; step < part.steps; ++step, w += kStepBytes) {
    typename P::Weight weight[Vectors];
    for (int v = 0; v < Vectors; v += 2) P::LoadTwo(w + v * P::kVectorBytes, weight + v);
    if (first) {
      for (int64_t line = 0; line < kStepBytes; line += 64) __builtin_prefetch(w + kPrefetchBytes + line);
    }
    for (int c = 0; c < Columns; ++c) {
      const auto factor = P::Broadcast(values + c * x.stride, step);
      for (int v = 0; v < Vectors; ++v) sum[c][v] = P::MultiplyAdd(weight[v], factor, sum[c][v]);
    }
  }
  for (int c = 0; c < Columns; ++c) {
    for (int v = 0; v < Vectors; ++v) {
      P::AddTo(sums + c * sums_stride + v * kLanes, sum[c][v], matrix,
               (part.panel * kPanelVectors + first_vector + v) * kLanes, x, part.first_column + c);
    }
  }
}

// All 8 vectors. The fewer the columns, the more vectors at a time: about eight independent sums keep the multipliers
// busy, twelve fill the registers, 24 the twice as many of AVX-512.
template <typename P, int Columns>
void MultiplyColumns(const PackedMatrix& matrix, const Part& part, const Activations& x, const Rows& sums) {
  constexpr int kVectors = Columns == 1 ? kPanelVectors : Columns == 2 || kLanes == 16 ? 4 : 2;
  for (int v = 0; v < kPanelVectors; v += kVectors) MultiplyTile<P, kVectors, Columns>(matrix, part, v, x, sums);
}

template <typename P>
void Multiply(const PackedMatrix& matrix, int64_t panel, const Activations& x, int64_t count, const Rows& sums) {
  constexpr int64_t kMaxColumns = 6;
  static constexpr decltype(&MultiplyColumns<P, 1>) kMultiply[kMaxColumns] = {
      MultiplyColumns<P, 1>, MultiplyColumns<P, 2>, MultiplyColumns<P, 3>,
      MultiplyColumns<P, 4>, MultiplyColumns<P, 5>, MultiplyColumns<P, 6>};
  const int64_t groups = (count + kMaxColumns - 1) / kMaxColumns;
  for (int64_t step = 0, steps; step < matrix.steps; step += steps) {
    steps = matrix.steps - step < P::kBlock ? matrix.steps - step : P::kBlock;
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t first = count * group / groups, end = count * (group + 1) / groups;
      kMultiply[end - first - 1](matrix, {panel, step, steps, first}, x, sums);
    }
  }
}

}  // namespace

int Lanes() { return kLanes; }

int Int8Columns() { return Int8::kColumns; }

void MultiplyPanel(Precision precision, const PackedMatrix& matrix, int64_t panel, const Activations& x, int64_t count,
                   const Rows& sums) {
  switch (precision) {
    case Precision::kFp32: return Multiply<Fp32>(matrix, panel, x, count, sums);
    case Precision::kBf16: return Multiply<Bf16>(matrix, panel, x, count, sums);
    case Precision::kInt8: return Multiply<Int8>(matrix, panel, x, count, sums);
  }
}

void CellPanel(const Rows& sums, int64_t count, const Rows& cell, const Rows& hidden) {
  for (int64_t n = 0; n < count; ++n) {
    const float* gates = sums.data + n * sums.stride;
    float* c = cell.data + n * cell.stride;
    float* h = hidden.data + n * hidden.stride;
    for (int half = 0; half < 2; ++half, gates += kLanes, c += kLanes, h += kLanes) {
      const F32 input = Sigmoid(Load(gates));
      const F32 forget = Sigmoid(Load(gates + 2 * kLanes));
      const F32 candidate = Tanh(Load(gates + 4 * kLanes));
      const F32 output = Sigmoid(Load(gates + 6 * kLanes));
      const F32 new_cell = Fma(forget, Load(c), input * candidate);
      Store(c, new_cell);
      Store(h, output * Tanh(new_cell));
    }
  }
}

Rounding Quantise(const float* x, int64_t size, int16_t* q) {
  typedef Int8::Rounded Narrow __attribute__((vector_size(kLanes * sizeof(Int8::Rounded))));
  constexpr float kLevels = kInt8Levels;
  F32 largest = F32{}, zeros = F32{};
  for (int64_t i = 0; i < size; i += kLanes) {
    largest = Max(Abs(Load(x + i)), largest);
    zeros += Load(x + i) * 0.0f;  // NaN of NaN and of infinity
  }
  const float max = MaxOf(largest);
  const bool small = max < 1e-30f;
  const float inverse = small ? 0.0f : kLevels / max;
  Rounding result;
  result.scale = (small ? 0.0f : max / kLevels) + Sum(zeros);
  I32 sum{};
  for (int64_t i = 0; i < size; i += kLanes) {
    const I32 rounded = Round(Load(x + i) * inverse);
    sum += rounded;
    const Narrow narrow = __builtin_convertvector(rounded, Narrow);
    std::memcpy(reinterpret_cast<Int8::Rounded*>(q) + i, &narrow, sizeof narrow);
  }
  for (int lane = 0; lane < kLanes; ++lane) result.sum += sum[lane];
  return result;
}

void LogSoftmax(const float* logits, int64_t padded_size, int64_t size, float* out) {
  F32 largest = Load(logits);
  for (int64_t i = kLanes; i < padded_size; i += kLanes) largest = Max(largest, Load(logits + i));
  const float max = MaxOf(largest);
  F32 sums = F32{};
  for (int64_t i = 0; i < padded_size; i += kLanes) sums += Exp(Load(logits + i) - max);
  const float normaliser = static_cast<float>(__builtin_log(static_cast<double>(Sum(sums))));
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) Store(out + i, (Load(logits + i) - max) - normaliser);
  for (; i < size; ++i) out[i] = (logits[i] - max) - normaliser;
}

}  // namespace PYASR_ISA
}  // namespace pyasr
