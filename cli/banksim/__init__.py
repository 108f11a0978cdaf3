"""A settlement bank to rehearse with: a process of its own, with a key and books of its own.

It takes money in from people (control.py), tells the clearing house of it, pays what it is asked to
pay, and states every day; all of it over our public gRPC, signed with its own key (words.py). Its
books are a SQLite file that outlives kill -9 (store.py): they are the truth of the bank. Messages
can be lost, delayed and doubled from a seed (chance.py). Development only.
"""
