"""Weights that can be trusted: whose signatures are believed, what they cover, where it is kept.

This package owns signatures and manifests, the decisions of the key ring, and how models are
fetched, cached and checked. It must not import ray, vllm or torch: what reads weights into an
engine asks here which bytes it may believe.
"""
