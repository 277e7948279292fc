"""What the service is: its configuration, policies and API.

This package owns everything that can be said about a request without an engine: what the
configuration allows, which errors there are, how a request is admitted, judged and routed.

It must not start actors or run models. Nothing in it imports ``ray`` or ``vllm``, except
``app.main`` (the composition root) and ``app.api.openai`` (the adapter around vLLM's OpenAI
layer), so that every policy can be tested, and the ``tidegate`` command can run, without either.
"""
