"""The independent books: what each book's events must satisfy, seen from the events alone.

Written against design section 4 and domain section 2, not against the services: nothing here is
shared with the code it checks, and its data structures are others on purpose.
"""
