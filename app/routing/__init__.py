"""Where a request goes: size classes, route tables by zone, circuit breakers, load by tokens.

Also which prompts are handed over from prefill to decode, and where a request goes whose replica
leaves it.

Owns the decision, and what it remembers to decide well: which pools exist in a zone, which of
their replicas are there, how many tokens each still has to work off, and which pool has been
failing. Everything here is a plain state machine: events and the time (`now`, monotonic seconds)
go in, a route or an error comes out.

Must not do I/O, read a clock, or import ray, vllm or the configuration: the composition root
turns the configuration into the small frozen dataclasses that these modules take. Must not offer
any way from one zone's table to another zone's pool.
"""
