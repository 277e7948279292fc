"""Which market and which availability zone replicas run in.

This package owns how likely spot replicas are to be lost, alone and together, what replicas cost
where, and the cheapest mix that keeps the promise. How many are needed it is told.
"""
