"""What can be wrong with a simulation, by the names of the one tree of errors."""

from app.errors import Infeasible, PolicyFailed, SimulationError, TraceInvalid

__all__ = ["Infeasible", "PolicyFailed", "SimulationError", "TraceInvalid"]
