"""What disaggregated pools and migration are worth: the whole service over HTTP, on one machine.

`service.py` starts it, `client.py` and `load.py` ask it, and each of `handoff.py`,
`interference.py`, `migration.py` and `drill.py` is one measurement; `goals.py` says beforehand
what is wanted of each.
"""
