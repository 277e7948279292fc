"""The log of decisions: chained, signed at checkpoints, and free of prompts and secrets.

This package owns what an entry is, how entries are chained and verified, and how they are exported,
pruned and made anonymous. It must not decide anything that it records.
"""
