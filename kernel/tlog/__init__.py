"""Signed append-only logs in the public formats: RFC 6962/9162 trees and the C2SP specifications.

Pure on purpose: standard library and `cryptography` only, no clock, no randomness, no I/O, nothing
else of this project, so that a verifier can be lifted out of the checkout by itself.

    merkle.py      hashes, roots, inclusion and consistency proofs        RFC 6962, RFC 9162
    note.py        signed notes, keys, Ed25519 signatures, cosignatures   c2sp.org/signed-note
    checkpoint.py  what a log signs and witnesses cosign                  tlog-checkpoint
    tiles.py       how a tree is stored and grown                         c2sp.org/tlog-tiles
    proof.py       one entry's offline proof                              c2sp.org/tlog-proof
    policy.py      whom to trust                                          c2sp.org/tlog-policy
    cose.py        the same proof as a COSE receipt                       RFC 9942
    witness.py     how a witness is asked, and what it may cosign         c2sp.org/tlog-witness
    receipt.py     one event with its salt and proof, in our container (container.py)
    maps.py        who holds what and where every serial is: hashes and proofs of two maps
    states.py      state entries and the files that show a holding or a lien
    balance_tree.py, serial_tree.py   the maps as who builds them keeps them
"""
