"""What was trained, in the formats of others: python -m pyasr.export --help."""
