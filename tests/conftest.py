"""What every test shares. Fixtures of one kind of test live in that kind's own conftest."""

import os

# A hub is never asked for anything: the models that tests use are in the tree or made by the test.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
