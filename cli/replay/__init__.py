"""Replaying published data: each data set has its rows (reading), its plan (pure) and its run.

A plan says what will be asked of the services, row by row, before anything is asked. It talks to
no network and reads no clock, so two runs over the same files ask for the same things by the same
ids.
"""
