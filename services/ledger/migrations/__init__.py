"""The schema history of the ledger service; only ever added to."""
