"""Fusion: recommenders other than the language model, each a Scorer in one file, found by discovery. They stand as honest
baselines in every report and as members of a blend."""
