"""Answering over one model folder: who asks, what they had, candidates and their scores, and what changes while it runs. No store, no HTTP."""
