"""`tanzhang witness`: a witness of signed logs that a partner bank or a regulator runs for itself.

    commands.py  keys, serve, show
    folder.py    what lies in the witness's folder: its keys, the logs it knows, evidence of forks
    store.py     what it has cosigned, in SQLite: kept before it is answered, one step at a time
    witness.py   the judgement and the cosignature                       c2sp.org/tlog-witness
    server.py    the same over HTTP

Needs a folder of its own, a port and a clock; no database server, no bus, no service of ours.
"""
