"""Diagonal-Gaussian acoustic models: monophones, triphones, adaptation; trees and alignments."""
