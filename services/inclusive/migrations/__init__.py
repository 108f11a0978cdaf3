"""The schema history of the inclusive service; only ever added to."""
