"""The ledger's own book: keys of institutions, halts and overrides, by two persons."""
