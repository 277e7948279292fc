"""The whole service on a real Ray cluster of labelled nodes; see `fleet.py`."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    # Ray warns of its own use of other libraries while it is imported, which is not ours to mend.
    warnings.simplefilter("ignore")
    from tests.cluster.fleet import Fleet
    from tests.cluster.processes import adopting_orphans, heed_interrupts
    from tests.cluster.settings import base_config, short_folder, with_markets

HERE = Path(__file__).parent
TIMEOUT_S = 400

# What Ray warns of in this process, and we can do nothing about.
IGNORED_WARNINGS = (
    # Ray's driver leaves its log files and sockets to the garbage collector.
    r"ignore:unclosed:ResourceWarning",
    r"ignore::DeprecationWarning:ray\.",
    r"ignore::FutureWarning:ray\.",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.cluster)
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
        for entry in IGNORED_WARNINGS:
            item.add_marker(pytest.mark.filterwarnings(entry))
    # Whoever brings a cluster of its own comes first: one at a time is enough for a machine.
    ours.sort(key=lambda item: "fleet" in getattr(item, "fixturenames", ()))
    rest = [item for item in items if HERE not in item.path.parents]
    items[:] = rest + ours


@pytest.fixture(scope="session")
def orphans() -> Iterator[None]:
    """Every process that a cluster leaves behind becomes visible as a child of this one."""
    heed_interrupts()
    with adopting_orphans():
        yield


@pytest.fixture(scope="session")
def fleet(orphans: None) -> Iterator[Fleet]:
    """Four engines in three pools, one of which has a replica in each market."""
    with short_folder() as folder, Fleet(with_markets(base_config()), folder) as fleet:
        yield fleet
