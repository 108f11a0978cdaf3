"""The schema history of the market service; only ever added to."""
