"""A user's own demand through the simulator, under the configuration of the fleet.

This package owns how requests are read (``demand``, ``store``), which pool each of them belongs to
(``routing``), what the configuration comes to in a simulation (``scenarios``, ``supply``), the run
itself (``run``), and how its outcome is told (``told``) and drawn (``picture``). It must not decide
how many replicas there are: that is the policy's, in ``autoscaling.simulator``.
"""
