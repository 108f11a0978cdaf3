"""The independent books: what each book's events must satisfy, seen from the events alone.

Written against design section 4 and domain section 2, not against the services: nothing here is
shared with the code it checks, and its data structures are others on purpose.

Each book is checked for itself, and against the book that asked for its event or answers it
(crossings.py): an entry must be what its cause asks for, an outcome what its entry did.
"""
