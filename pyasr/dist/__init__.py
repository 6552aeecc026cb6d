"""Training on many machines: gradient threshold compression, blockwise model-update filtering, and both."""

from pyasr.dist.bmuf import BMUF
from pyasr.dist.gtc import GTCState, gtc_hook

__all__ = ["BMUF", "GTCState", "gtc_hook"]
