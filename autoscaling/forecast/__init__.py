"""What demand will be, with how much certainty.

This package owns the models, how they are combined, and how their quantiles are calibrated. It
knows no pools and no replicas.
"""
