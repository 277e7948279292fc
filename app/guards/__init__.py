"""What must not come in or go out as it is: found, counted, replaced or refused by policy.

Owns the patterns of personal data and secrets, the scanner that finds them in whole texts and in
streams alike, and the decision on what becomes of a text in which something was found.

Must not do I/O, keep any text, or put any of it in a decision or an error. Patterns are RE2's only
and of bounded length, so that every text is scanned in linear time and a stream is held back by no
more than the longest of them.
"""
