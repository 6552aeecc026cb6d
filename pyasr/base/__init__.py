"""Foundations that every other package may import: errors, artifacts on disk, configuration, progress, executors."""
