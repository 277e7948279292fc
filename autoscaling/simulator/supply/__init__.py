"""Where spot nodes can be had in a simulation, and when they are taken away.

This package owns supply that was recorded, supply that is generated like it, what is measured of
either, and losses that are put in on purpose. It reads no files, and does not decide who goes when
fewer nodes are left than run.
"""
