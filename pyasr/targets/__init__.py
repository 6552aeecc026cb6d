"""What networks learn from beside alignments: a teacher's stored posteriors."""

from pyasr.targets.store import PosteriorStore

__all__ = ["PosteriorStore"]
