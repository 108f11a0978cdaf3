"""Snapshots of a book's state: what replaying need not do again, believed only when signed."""
