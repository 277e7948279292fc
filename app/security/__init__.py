"""Who asks, and which zone a request belongs to.

Owns identities and the ladder of zones. It decides; it does not read headers, route, or talk to
an engine.
"""
