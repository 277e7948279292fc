"""Token work as it arrives at the gateways, per pool, prefill and decode apart.

This package owns what gateways say of demand and its bounded history. It forecasts nothing.
"""
