#include "posterior/row_block.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "posterior/id_bits.h"

namespace pyasr {
namespace {

static_assert(kRecentIds >= kMaxTopk && kRecentIds <= kNewId);

class RecentIds {
 public:
  int64_t size() const { return size_; }
  uint16_t operator[](int64_t i) const { return ids_[i]; }

  // The place of an id at or behind `begin`; size() when it is not there.
  int64_t Find(uint16_t id, int64_t begin) const {
    constexpr int64_t kTogether = 16;
    for (int64_t i = begin; i < size_; i += kTogether) {
      uint16_t equal = 0;  // without a branch inside, the compiler makes vectors of it
      for (int64_t j = 0; j < kTogether; ++j) equal |= ids_[i + j] == id;
      if (equal) return std::min(size_, static_cast<int64_t>(std::find(ids_ + i, ids_ + size_, id) - ids_));
    }
    return size_;
  }

  void Move(int64_t from, int64_t to) {
    const uint16_t id = ids_[from];
    std::memmove(ids_ + to + 1, ids_ + to, (from - to) * sizeof(uint16_t));
    ids_[to] = id;
  }

  // The last one falls off a full list.
  void Insert(uint16_t id, int64_t at) {
    size_ = std::min(size_ + 1, kRecentIds);
    std::memmove(ids_ + at + 1, ids_ + at, (size_ - 1 - at) * sizeof(uint16_t));
    ids_[at] = id;
  }

 private:
  int64_t size_ = 0;
  uint16_t ids_[kRecentIds + 16] = {};
};

}  // namespace

std::vector<uint8_t> EncodeRows(MatrixView<const uint8_t> packed, const TopkFormat& format) {
  PYASR_CHECK_EQ(packed.cols, format.row_bytes, "bytes of a packed row against those of its format");
  const int64_t k = format.k, cells = packed.rows * k;
  std::vector<uint8_t> coded(2 * cells);
  std::vector<uint16_t> new_ids;
  RecentIds recent;
  uint8_t *place = coded.data(), *values = place + cells;
  uint16_t ids[kMaxTopk];
  for (int64_t row = 0; row < packed.rows; ++row) {
    ReadIds(packed.row(row), format, ids);
    for (int64_t i = 0; i < k; ++i) {
      PYASR_CHECK(ids[i] < format.num_senones, "row ", row, ": senone id ", ids[i], " of ", format.num_senones);
      const int64_t found = recent.Find(ids[i], i);
      if (found < recent.size()) {
        *place++ = static_cast<uint8_t>(found - i);
        recent.Move(found, i);
      } else {
        *place++ = kNewId;
        new_ids.push_back(ids[i]);
        recent.Insert(ids[i], i);
      }
    }
    std::memcpy(values, packed.row(row) + format.id_bytes, k);
    values += k;
  }
  for (const uint16_t id : new_ids) coded.push_back(static_cast<uint8_t>(id));
  for (const uint16_t id : new_ids) coded.push_back(static_cast<uint8_t>(id >> 8));
  return coded;
}

void DecodeRows(Span<const uint8_t> coded, int64_t num_rows, const TopkFormat& format, MatrixView<uint8_t> packed) {
  PYASR_CHECK_EQ(packed.cols, format.row_bytes, "bytes of a packed row against those of its format");
  PYASR_CHECK(packed.rows <= num_rows, packed.rows, " rows of ", num_rows, " are asked for");
  const int64_t k = format.k;
  PYASR_CHECK(num_rows <= coded.size / (2 * k), num_rows, " rows take more than ", coded.size, " bytes");
  const int64_t cells = num_rows * k, rest = coded.size - 2 * cells, num_new = rest / 2;
  PYASR_CHECK(rest % 2 == 0 && num_new <= cells, rest, " bytes of new ids behind ", num_rows, " rows");
  const uint8_t *place = coded.data, *values = place + cells, *low = values + cells, *high = low + num_new;
  RecentIds recent;
  uint16_t ids[kMaxTopk];
  int64_t used = 0;
  for (int64_t row = 0; row < packed.rows; ++row) {
    for (int64_t i = 0; i < k; ++i) {
      const uint8_t code = *place++;
      if (code == kNewId) {
        PYASR_CHECK(used < num_new, "row ", row, ": no new id is left, there were ", num_new);
        const auto id = static_cast<uint16_t>(low[used] | high[used] << 8);
        PYASR_CHECK(id < format.num_senones, "row ", row, ": senone id ", id, " of ", format.num_senones);
        ++used;
        recent.Insert(id, i);
      } else {
        PYASR_CHECK(i + code < recent.size(), "row ", row, ": place ", i + code, " in a list of ", recent.size());
        recent.Move(i + code, i);
      }
      ids[i] = recent[i];
    }
    WriteIds(ids, format, packed.row(row));
    std::memcpy(packed.row(row) + format.id_bytes, values, k);
    values += k;
  }
  PYASR_CHECK(packed.rows < num_rows || used == num_new, num_new - used, " new ids are left over");
}

}  // namespace pyasr
