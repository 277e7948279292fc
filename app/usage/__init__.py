"""What was used, by whom, where.

Owns the counting of tokens and requests, and the journal in which a gateway keeps what the ledger
has not confirmed. It must not decide on admission.
"""
