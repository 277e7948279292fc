"""The HTTP face of the service, and the objects a request carries through it.

Owns the routes, the shapes of requests, answers and errors, and the adapter to vLLM's OpenAI
layer. It must not choose a pool, count a quota or know a replica: it hands a request with its
context to an engine client, and that one decides.
"""
