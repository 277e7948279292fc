"""Runs the command: ``python -m benchmarks.gateway``."""

from benchmarks.gateway.cli import app

app(prog_name="python -m benchmarks.gateway")
