"""Lexicon, language model, HMM topology and the graphs made of them."""
