"""Explanation: what the model holds about a person, in words, with the events behind it."""
