"""What the ledger says of how things stand: the maps, their log, and proofs out of it.

The format is docs/reference/state-proofs.md. Nothing here is the truth: a start makes the maps
anew from what the accounts book's checker knows.
"""
