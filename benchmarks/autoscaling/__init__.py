"""Every policy over two weeks of real demand and spot capacity: what each costs, and what it keeps.

`python -m benchmarks.autoscaling` tunes on days 1 to 7, freezes, and judges on days 8 to 14.
"""
