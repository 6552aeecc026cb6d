"""The native kernels' Python face, one file a topic; `reference.py` holds the slow, obvious twin of each."""
