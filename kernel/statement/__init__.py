"""A statement of account as a file: plain values in, bytes out. Knows no service and no protocol.

`plain.py` is what a statement says, `formats.py` which files there are; one module for each format.
"""
