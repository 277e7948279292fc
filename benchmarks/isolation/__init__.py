"""Measures the fair queue against a noisy neighbour, and the prefix cache against a timing attack.

One real engine in this process, with its stream, its scheduler and a client that stands where a
gateway would.
"""
