"""What callers send, as pydantic models: a module per service, names those of the contracts.

What they read back is made from the contracts themselves (gateway/clients.py:answer_model).
"""
