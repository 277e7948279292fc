"""What runs on the cluster: the Ray Serve deployments and actors, and the wire between them.

This package owns processes, placement, health, sockets and the seam between vLLM's front end and
its engine core. It is thin by intent: an actor carries a core from ``app`` or ``autoscaling``,
feeds it events and the time, and does what it answers.

It must not decide. A rule that could be wrong (who is admitted, where a request goes, how many
replicas there should be) belongs to a core, where it can be tested without a cluster.
"""
