"""Where simulated demand comes from: recorded rates and lengths, or a user's own record.

This package owns the parsers of those records and the workloads made of them. Parsers take lines
and refuse what is not what it should be (`TraceInvalid`); who reads the files is no concern of
theirs.
"""
