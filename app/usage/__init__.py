"""What was used, by whom, where.

Owns the counting of tokens and requests. It must not decide on admission, and does no I/O.
"""
