"""Recognise a user's own recordings with a trained system: python -m pyasr.transcribe --help."""
