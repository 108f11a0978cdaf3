"""The schema history of the registry service; only ever added to."""
