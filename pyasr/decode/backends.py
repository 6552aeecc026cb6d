"""The libraries that search, by the name that options have for them."""

from __future__ import annotations

from pyasr.decode.k2_install import import_k2
from pyasr.decode.k2_search import K2LatticeSearcher, K2Searcher
from pyasr.decode.lattice_search import LatticeSearcher
from pyasr.decode.options import Backend
from pyasr.decode.search import Searcher

AnySearcher = Searcher | K2Searcher
AnyLatticeSearcher = LatticeSearcher | K2LatticeSearcher

SEARCHERS: dict[Backend, type[AnySearcher]] = {"kaldi": Searcher, "k2": K2Searcher}
LATTICE_SEARCHERS: dict[Backend, type[AnyLatticeSearcher]] = {"kaldi": LatticeSearcher, "k2": K2LatticeSearcher}


def check_backend(backend: Backend) -> None:
    """ConfigError when it is not there, and how to get it: before hours of work that end in a search."""
    if backend == "k2":
        import_k2()
