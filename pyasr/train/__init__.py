"""Training of networks: one loop, and what it learns from."""
