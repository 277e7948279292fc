"""Runs the command: ``python -m benchmarks.admission``."""

from benchmarks.admission.cli import app

app(prog_name="python -m benchmarks.admission")
