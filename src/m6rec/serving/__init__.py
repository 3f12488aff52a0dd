"""Answering: the engine over a model folder, without HTTP in this version."""
