"""What ``tidegate profile`` measures: load on a running service, and what follows from its answers.

`search`, `judge`, `model` and `arrivals` decide, and do no I/O; `load`, `replies` and `run` carry
them to a service.
"""
