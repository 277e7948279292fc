"""What survives everything: keys, tenants, limits, usage, the ledger's state and the audit log.

This package owns tables, migrations and statements, on SQLite and PostgreSQL alike. It must not
know a rule: what may be used, by whom, is decided elsewhere.
"""
