"""What an administrator can do: keys, tenants, limits, budgets, usage and the audit log.

This package owns the operations, their parameters and who may call them. It must not know HTTP, nor
how a change reaches the gateways.
"""
