"""How much capacity there should be, and where, before the demand arrives.

This package owns demand, its forecast, the plan of replicas that follows from it, spot placement
and warm pools, and the simulator that replays traffic against the same objects that run in
production. Each is a plain state machine: events and the time go in, decisions come out.

It must not start, stop or reach anything: acting on a plan is the business of ``deployments``.
It may use ``app`` for the vocabulary and the configuration, and imports neither ``deployments``
nor ``ray`` nor ``vllm``, so that two weeks of traffic can be replayed in seconds.
"""
