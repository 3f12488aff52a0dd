"""Balancers: what makes one step of several losses. Each is a class in a file of its own; a plug-in's are found the same way."""
