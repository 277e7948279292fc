"""``python -m benchmarks.disaggregated``."""

from benchmarks.disaggregated.cli import app

app(prog_name="python -m benchmarks.disaggregated")
