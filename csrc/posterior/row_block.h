// Neighbouring packed rows (format.h) as bytes that an entropy coder makes small.
//
//   [places: n k bytes]  [values: n k bytes, the tail and gaps of each row]  [new ids: low bytes, then high bytes]
//
// The most recent ids stand in a list, at most kRecentIds of them, empty before the first row. The i-th id of a row
// is written as its place in the list, counted from i, and moves to i; one that the list lacks is written as kNewId and
// stands among the new ids. So the ids of a row end at the front, in their order, and what most neighbours share are
// small numbers. (Move to front: Bentley, Sleator, Tarjan & Wei, "A locally adaptive data compression scheme", 1986.)
//
// On a teacher of AN4 (283 senones, rows every 30 ms) zstandard's Huffman coder makes 14.2 bytes of the 30 of the ids
// and 14.4 of the 20 values; writing columns instead of rows changes this by less than 1 %, gaps against those of the
// row before by +10 %, and a list of 20 or 64 ids by less than 1 % (more senones ask for more).
#pragma once

#include <cstdint>
#include <vector>

#include "base/span.h"
#include "posterior/format.h"

namespace pyasr {

constexpr int64_t kRecentIds = 128;
constexpr uint8_t kNewId = 255;

// packed (n, row_bytes) -> the bytes above. Throws std::invalid_argument naming the lowest row with an id >= S.
std::vector<uint8_t> EncodeRows(MatrixView<const uint8_t> packed, const TopkFormat& format);

// The first packed.rows of the num_rows rows that were encoded. Any bytes are safe to pass, and checked as far as they
// are read; ids that are written as new may stand in the list, so a row of bytes that EncodeRows cannot have written
// may hold an id twice. Throws std::invalid_argument naming the lowest row with a place outside the list, an id >= S
// or no id left; and for a size that num_rows rows cannot have.
void DecodeRows(Span<const uint8_t> coded, int64_t num_rows, const TopkFormat& format, MatrixView<uint8_t> packed);

}  // namespace pyasr
