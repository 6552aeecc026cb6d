// Random and mutated inputs through everything that decodes bytes or checks a structure: an error or a valid result,
// and under the sanitizers no read or write beside what is given.
//
//   pyasr_core_fuzz COUNT [SEED]      COUNT inputs for each decoder; every failure names the seed of its input
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/check.h"
#include "gtc/golomb_rice.h"
#include "gtc/words.h"
#include "hmm/check_lattice.h"
#include "hmm/lattice_forward_backward.h"
#include "posterior/pack_topk.h"
#include "posterior/row_block.h"
#include "posterior/summarise_topk.h"
#include "posterior/unpack_topk.h"

namespace pyasr {
namespace {

using Random = std::mt19937_64;

int64_t Below(Random& random, int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); }

// What a decoder is given: in a block of its own, of just its size, so that a sanitizer sees the first byte beside it.
template <typename T>
struct Exact {
  std::unique_ptr<T[]> data;
  int64_t size;

  explicit Exact(const std::vector<T>& from) : data(new T[from.size()]), size(static_cast<int64_t>(from.size())) {
    std::copy(from.begin(), from.end(), data.get());
  }
  Span<const T> View() const { return {data.get(), size}; }
};

// A few bits flipped, bytes set, added or cut off; or nothing left of it but its size.
void Mutate(Random& random, std::vector<uint8_t>* bytes) {
  if (Below(random, 8) == 0) {
    for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>(random());
    return;
  }
  for (int64_t change = Below(random, 4); change >= 0; --change) {
    const int64_t size = static_cast<int64_t>(bytes->size());
    if (size == 0 || Below(random, 12) == 0) {
      bytes->insert(bytes->begin() + Below(random, size + 1), static_cast<uint8_t>(random()));
      continue;
    }
    uint8_t& byte = (*bytes)[Below(random, size)];
    switch (Below(random, 5)) {
      case 0: byte = static_cast<uint8_t>(random()); break;
      case 1: byte = Below(random, 2) ? 0xff : 0; break;
      case 2: bytes->resize(Below(random, size)); break;
      default: byte ^= static_cast<uint8_t>(1 << Below(random, 8));
    }
  }
}

// Numbers, too: their neighbours, their limits, another element's.
template <typename T>
void Mutate(Random& random, std::vector<T>* numbers) {
  for (int64_t change = Below(random, 3); change >= 0 && !numbers->empty(); --change) {
    T& number = (*numbers)[Below(random, static_cast<int64_t>(numbers->size()))];
    switch (Below(random, 4)) {
      case 0: number = static_cast<T>(number + 1); break;
      case 1: number = static_cast<T>(number - 1); break;
      case 2: number = (*numbers)[Below(random, static_cast<int64_t>(numbers->size()))]; break;
      default: {
        uint32_t bits = static_cast<uint32_t>(random());
        std::memcpy(&number, &bits, sizeof number);
      }
    }
  }
}

// Each of these returns false where the input was refused, and throws std::logic_error for a result that cannot be.

void Expect(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

bool FuzzGtc(Random& random) {
  const int64_t n = 1 + Below(random, 3000), step = 1 + Below(random, 200);
  std::vector<int32_t> words;
  for (int64_t i = Below(random, step); i < n; i += 1 + Below(random, step)) {
    words.push_back(static_cast<int32_t>(i << 1 | Below(random, 2)));
  }
  const Span<const int32_t> view{words.data(), static_cast<int64_t>(words.size())};
  const GtcHeader header = MakeGtcHeader(view, n);
  std::vector<uint8_t> bytes(GtcCompressedBytes(view, header));
  GtcCompress(view, header, {bytes.data(), static_cast<int64_t>(bytes.size())});
  if (Below(random, 16) != 0) Mutate(random, &bytes);
  const Exact<uint8_t> data(bytes);
  try {
    const GtcHeader read = ReadGtcHeader(data.View());
    std::vector<int32_t> room(read.count);
    const Exact<int32_t> decoded(room);
    GtcDecompress(data.View(), read, {decoded.data.get(), decoded.size});
    try {
      CheckGtcWords(decoded.View(), read.n);
    } catch (const std::invalid_argument&) {
      Expect(false, "GtcDecompress gave words that are not good");
    }
    std::vector<uint8_t> again(GtcCompressedBytes(decoded.View(), read));
    GtcCompress(decoded.View(), read, {again.data(), static_cast<int64_t>(again.size())});
    Expect(again == bytes, "GtcCompress gives other bytes than those that GtcDecompress took");
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

struct Rows {
  TopkFormat format;
  int64_t num_rows;
  std::vector<uint8_t> bytes;

  explicit Rows(Random& random) : Rows(random, 1 + Below(random, Below(random, 4) ? 300 : 9000)) {}

 private:
  Rows(Random& random, int64_t senones)
      : format(1 + Below(random, std::min(senones, kMaxTopk)), senones), num_rows(Below(random, 4)) {
    std::vector<float> logits(num_rows * senones);
    for (float& x : logits) x = static_cast<float>(Below(random, 1000)) * 0.02f;
    bytes.resize(num_rows * format.row_bytes);
    PackTopk(MatrixView<const float>{logits.data(), num_rows, senones, senones}, format, Packed(bytes.data()), 1);
  }

 public:
  template <typename Byte>
  MatrixView<Byte> Packed(Byte* data) const {
    return {data, num_rows, format.row_bytes, format.row_bytes};
  }
};

void ExpectRowsHold(const Rows& rows, const int32_t* ids, const float* logp) {
  for (int64_t row = 0; row < rows.num_rows; ++row, ids += rows.format.k, logp += rows.format.k) {
    double sum = 0;
    for (int64_t i = 0; i < rows.format.k; ++i) {
      Expect(ids[i] >= 0 && ids[i] < rows.format.num_senones, "UnpackTopk gave an id that cannot be");
      Expect(std::isfinite(logp[i]) && (i == 0 || logp[i] <= logp[i - 1]), "UnpackTopk gave values that cannot be");
      sum += std::exp(static_cast<double>(logp[i]));
    }
    Expect(sum < 1, "UnpackTopk gave a row whose sum is 1 or more");
  }
}

bool FuzzTopk(Random& random) {
  Rows rows(random);
  const size_t size = rows.bytes.size();
  if (Below(random, 16) != 0) Mutate(random, &rows.bytes);
  rows.bytes.resize(size);
  const Exact<uint8_t> data(rows.bytes);
  const int64_t cells = rows.num_rows * rows.format.k;
  std::vector<int32_t> ids(cells);
  std::vector<float> logp(cells);
  const auto packed = rows.Packed(static_cast<const uint8_t*>(data.data.get()));
  bool good = true;
  try {
    UnpackTopk(packed, rows.format, {ids.data(), rows.num_rows, rows.format.k, rows.format.k},
               {logp.data(), rows.num_rows, rows.format.k, rows.format.k}, 1);
    ExpectRowsHold(rows, ids.data(), logp.data());
  } catch (const std::invalid_argument&) {
    good = false;
  }
  try {
    const TopkSummary summary = SummariseTopk(packed, rows.format);
    Expect(good, "SummariseTopk took rows that UnpackTopk refused");
    Expect(summary.kept <= 1 && summary.entropy >= 0, "SummariseTopk gave numbers that cannot be");
  } catch (const std::invalid_argument&) {
    Expect(!good, "SummariseTopk refused rows that UnpackTopk took");
  }
  return good;
}

bool FuzzRowBlock(Random& random) {
  Rows rows(random);
  std::vector<uint8_t> coded = EncodeRows(rows.Packed(static_cast<const uint8_t*>(rows.bytes.data())), rows.format);
  const bool mutated = Below(random, 16) != 0;
  if (mutated) Mutate(random, &coded);
  const Exact<uint8_t> data(coded);
  const int64_t wanted = Below(random, 3) ? rows.num_rows : Below(random, rows.num_rows + 1);
  const int64_t of = rows.num_rows + (mutated && Below(random, 8) == 0 ? Below(random, 3) : 0);
  const Exact<uint8_t> out(std::vector<uint8_t>(wanted * rows.format.row_bytes));
  const MatrixView<uint8_t> view{out.data.get(), wanted, rows.format.row_bytes, rows.format.row_bytes};
  try {
    DecodeRows(data.View(), of, rows.format, view);
  } catch (const std::invalid_argument&) {
    Expect(mutated, "DecodeRows refused what EncodeRows gave");
    return false;
  }
  if (!mutated) Expect(std::equal(out.View().begin(), out.View().end(), rows.bytes.begin()), "DecodeRows: other rows");
  return true;
}

bool FuzzLattice(Random& random) {
  // A sausage: one to three arcs from each time to the next, at times one that takes no frame.
  const int64_t frames = 1 + Below(random, 6), senones = 1 + Below(random, 5);
  std::vector<int32_t> src, dst, senone, time;
  std::vector<float> cost, loglikes(frames * senones), values;
  int32_t state = 0;
  for (int32_t t = 0; t < frames; ++t) {
    if (Below(random, 4) == 0) {
      src.push_back(state), dst.push_back(state + 1), senone.push_back(kNoSenone), time.push_back(t);
      ++state;
    }
    for (int64_t arc = Below(random, 3); arc >= 0; --arc) {
      src.push_back(state), dst.push_back(state + 1), time.push_back(t);
      senone.push_back(static_cast<int32_t>(Below(random, senones)));
    }
    ++state;
  }
  for (size_t i = 0; i < src.size(); ++i) cost.push_back(static_cast<float>(Below(random, 100)) * 0.1f);
  std::vector<float> final_cost(state + 1, std::numeric_limits<float>::infinity());
  final_cost.back() = 0.5f;
  for (float& x : loglikes) x = -static_cast<float>(Below(random, 100)) * 0.1f;
  const bool mutated = Below(random, 16) != 0;
  for (auto* numbers : {&src, &dst, &senone, &time}) {
    if (mutated && Below(random, 3) == 0) Mutate(random, numbers);
  }
  if (mutated && Below(random, 4) == 0) Mutate(random, &cost);
  if (mutated && Below(random, 4) == 0) Mutate(random, &final_cost);
  if (mutated && Below(random, 8) == 0) final_cost.resize(Below(random, state + 3));
  if (mutated && Below(random, 8) == 0) {
    const size_t fewer = src.size() - 1;
    for (auto* numbers : {&src, &dst, &senone, &time}) numbers->resize(fewer);
    cost.resize(fewer);
  }
  const Exact<int32_t> arc_src(src), arc_dst(dst), arc_senone(senone), arc_time(time);
  const Exact<float> arc_cost(cost), ends(final_cost), scores(loglikes);
  const Lattice lattice{arc_src.View(), arc_dst.View(),  arc_senone.View(),
                        arc_time.View(), arc_cost.View(), ends.View()};
  values.assign(src.size(), 1.0f);
  std::vector<double> posteriors(src.size());
  try {
    const LatticePosteriors sums = LatticeForwardBackward(
        lattice, {scores.data.get(), frames, senones, senones}, 1.0, {values.data(), arc_src.size},
        {posteriors.data(), arc_src.size});
    Expect(std::isfinite(sums.log_total) && std::isfinite(sums.expected), "a lattice's sums are not finite");
    for (const double p : posteriors) Expect(p >= 0 && p <= 1 + 1e-9, "a posterior is outside [0, 1]");
    return true;
  } catch (const std::invalid_argument&) {
    Expect(mutated, "a good lattice was refused");
    return false;
  }
}

bool Run(const char* name, bool (*fuzz)(Random&), int64_t count, uint64_t seed) {
  int64_t good = 0;
  for (int64_t i = 0; i < count; ++i) {
    Random random(seed + static_cast<uint64_t>(i));
    try {
      good += fuzz(random);
    } catch (const std::exception& error) {
      std::printf("FAILED  %s: %s; again: pyasr_core_fuzz 1 %llu\n", name, error.what(),
                  static_cast<unsigned long long>(seed + static_cast<uint64_t>(i)));
      return false;
    }
  }
  std::printf("ok      %s: %lld inputs, %lld of them good\n", name, static_cast<long long>(count),
              static_cast<long long>(good));
  return true;
}

}  // namespace
}  // namespace pyasr

int main(int argc, char** argv) {
  const long long count = argc > 1 ? std::atoll(argv[1]) : 0;
  if (count < 1) {
    std::printf("usage: pyasr_core_fuzz COUNT [SEED]\n");
    return 2;
  }
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  bool good = pyasr::Run("gtc_decompress", pyasr::FuzzGtc, count, seed);
  good &= pyasr::Run("unpack_topk and summarise_topk", pyasr::FuzzTopk, count, seed);
  good &= pyasr::Run("decode_rows", pyasr::FuzzRowBlock, count, seed);
  good &= pyasr::Run("lattice_forward_backward", pyasr::FuzzLattice, count, seed);
  return good ? 0 : 1;
}
