"""The REST surface, one module per area: mostly tables of rows, see gateway/resources.py."""
