"""A fleet in simulated time: real demand and spot capacity against the cores of production.

This package owns simulated requests, replicas and nodes, the policies that are compared with ours,
and what is measured of them. Requests are simulated one by one in compiled code; policies decide
between, once in `Scenario.step_s`. Everything random comes from a seed, so that a run is repeated
to the digit.

It must not read files or a clock, and must not decide in the place of a production core: the plan
of a simulated fleet is made by `autoscaling.fleet_planner`.
"""
