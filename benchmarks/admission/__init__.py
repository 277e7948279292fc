"""The price and the promises of admission: nothing past a limit, nothing lost, nothing twice.

Real ledgers in processes of their own, on a real store, and gateways' clients over real TCP; no
engines. Owns the load, the killing and the counting; must not know how a ledger decides.
"""
