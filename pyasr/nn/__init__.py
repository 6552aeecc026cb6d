"""Networks: LSTM stacks over senones, and their losses."""

from pyasr.nn.lstm import LSTM

__all__ = ["LSTM"]
