"""What a request will cost, before it has cost it.

Owns the expectation of a request's output, from which its size class and its reservation follow.

Must not do I/O, read a clock, or see the text of a request: counts of tokens and the names of
tenant, model and task are all that comes in here.
"""
