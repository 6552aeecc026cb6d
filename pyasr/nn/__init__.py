"""Networks: LSTM stacks over senones, for training and streaming, and their losses."""

from pyasr.nn.lstm import LSTM
from pyasr.nn.streaming import LSTMState, StreamingLSTM

__all__ = ["LSTM", "LSTMState", "StreamingLSTM"]
