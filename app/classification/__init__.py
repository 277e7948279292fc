"""What a request's text says about it: the kind of task, the lowest zone it may go to, its risk.

Owns the judgement and the patterns behind it, all of them linear in the length of the text. What
marks a text as belonging to a zone is a security decision, so it is looked for in the whole text
and past the usual disguises; the rest are heuristics over a bounded part of it, and are named so.

Must not do I/O, keep any text or put any of it in a verdict, or lower a zone. Patterns are RE2's
only: nothing in a text or in the configuration can make it run away.
"""
