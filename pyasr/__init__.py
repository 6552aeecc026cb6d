"""Train hybrid acoustic models on far more untranscribed than transcribed speech."""

__version__ = "0.1.0"
