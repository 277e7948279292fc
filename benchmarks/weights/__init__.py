"""What signed weights cost, and what they refuse.

This package owns the mutations of a signed model, the measurements of hashing, fetching, loading
and starting, and the replay of a busy hour against a warm pool. It must not be imported by the
product.
"""
