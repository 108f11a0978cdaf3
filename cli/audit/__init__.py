"""`tanzhang audit`: an auditor's own process, which shares no state and no code with the services.

It mirrors every log and computes it again (logs.py), opens the commitments it is entitled to and
holds each event to its leaf (opening.py, records.py), folds what it opened with its own few rules
(accounts.py, places.py, registry.py, keys.py), compares the books (crossing.py), and reports
(findings.py, report.py). What it knows is kept between runs (kept.py). docs/operating/auditing.md.
"""
