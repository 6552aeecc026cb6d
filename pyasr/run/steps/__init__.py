"""What stages do: read artifacts, call a package, write artifacts. No logic of its own.

A module a package; every function takes the Context and returns the stage's digest.
"""
