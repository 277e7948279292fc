"""What a request will cost and whether it may, before it has; and in which order it is served.

Owns the expectation of a request's output, limits and budgets, both halves of a lease (the ledger's
and the gateway's), prices, the fair queue and the rules of isolation inside an engine.

Must not do I/O, read a clock, or see the text of a request: counts of tokens, the time, and the
names of tenant, user, key and model are all that comes in here.
"""
