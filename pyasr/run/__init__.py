"""The recipe runner: one schema of recipes, one table of stages, and what decides which of them run."""
