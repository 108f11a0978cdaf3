"""Measurements: one file per claim, each beside a peer in the same run on the same machine.

Nothing here asserts a time. Quote ratios and medians; say what was lost in a crash.
"""
