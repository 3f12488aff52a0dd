"""Measuring without fooling ourselves: metrics as pure functions, the full-ranking protocol, intervals over users, slices, and the report.

This room reads scores and cases, never models: whatever implements `base.contracts.Scorer` is measured the same way.
"""
