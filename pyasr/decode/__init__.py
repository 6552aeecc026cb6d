"""Search in decoding graphs, the choice of scales on dev, scoring, and comparison of systems."""
