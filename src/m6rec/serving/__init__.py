"""Answering: an engine over a model folder, and the service around it: store, rules, experiments, HTTP, console."""
