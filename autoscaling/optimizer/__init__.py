"""What a fleet should be: an integer program over GPU types, pools, markets and isolation.

This package owns the search for the cheapest fleet that carries a demand profile, the frontier of
cost, latency and isolation, the reason why there is none, and what is worked out from the answers.
HiGHS solves the programs, by way of `scipy.optimize.milp`.

It must not read files and knows nothing of how demand changes within a day beyond two levels of it.
What a fleet does in between is for the simulator to say.
"""
