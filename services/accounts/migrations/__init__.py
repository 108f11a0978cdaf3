"""The schema history of the accounts service; only ever added to."""
