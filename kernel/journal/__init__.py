"""The journal of a book: one port, two adapters (memory for domain tests, PostgreSQL for truth)."""
