"""What people run today, as small policies: rules of other projects, each with its source.

A rival is a `Demand`, which says how many replicas there should be, and a `Placer`, which says
where they run; `parts.Rival` puts the two together. Where the rules leave a choice, or a project's
documentation and its code differ, the one that serves it better is taken, and the module says so.

It owns no rule of ours, and must not see more than `Observation` and `Terms`; the oracles, which
know the future, get it in their constructor.
"""
