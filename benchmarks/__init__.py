"""What is measured, against what, and the results.

Owns the harnesses and the published results under ``benchmarks/results``. Must not be imported by
``app``, ``autoscaling`` or ``deployments``: a benchmark starts the product as a user would.
"""
