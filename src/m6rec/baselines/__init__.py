"""Simple models of tasks that judge, measured beside the trained one: smoothed counters, logistic regression, LightGBM, words counted in texts.

Every one is fitted to training rows, chosen on validation rows, and reads what was known at the time of the row. Those of tasks that choose an item
are in `fusion`.
"""
