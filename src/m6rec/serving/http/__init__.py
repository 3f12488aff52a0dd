"""The service over HTTP: routes, keys, limits, errors, metrics. Nothing is decided here."""
