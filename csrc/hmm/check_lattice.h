// What a lattice must be before anything is computed from it.
#pragma once

#include <stdexcept>

#include "hmm/lattice.h"

namespace pyasr {

// The lattice itself is damaged, or does not belong to the utterance.
class LatticeError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// Throws LatticeError unless the lattice is what lattice.h says, has a path, and every state lies on one; unless all
// its senones are below num_senones and it has num_frames frames. O(arcs).
void CheckLattice(const Lattice& lattice, int64_t num_frames, int64_t num_senones);

}  // namespace pyasr
