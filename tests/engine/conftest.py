"""Real engines and a real gateway in this process, without Ray; see `stack.py`."""

import os

# vLLM reads these when it is imported.
os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    OMP_NUM_THREADS="1",
    VLLM_NO_USAGE_STATS="1",
    VLLM_LOGGING_LEVEL=os.environ.get("VLLM_LOGGING_LEVEL", "CRITICAL"),
    TOKENIZERS_PARALLELISM="false",
    # The gateway takes environments from the cluster; here there is none to find.
    RAY_USAGE_STATS_ENABLED="0",
)

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    # torch and vLLM warn of parts of their own while they are imported, which is not ours to mend.
    warnings.simplefilter("ignore")
    from tests.engine.reference import Reference
    from tests.engine.stack import Gateway, Stack

HERE = Path(__file__).parent

# What vLLM and torch warn of, and we can do nothing about.
IGNORED_WARNINGS = (
    # torch marks parts of its own compiler and quantization as deprecated while vLLM imports them.
    r"ignore::DeprecationWarning:torch\.",
    r"ignore::FutureWarning:torch\.",
    r"ignore::DeprecationWarning:vllm\.",
    r"ignore::FutureWarning:vllm\.",
    r"ignore::UserWarning:vllm\.",
    r"ignore::DeprecationWarning:xgrammar\.",
    # Fields of OpenAI's that it has deprecated, that clients send all the same, and that are read.
    r"ignore:\w+ is deprecated in favor of:DeprecationWarning",
    # SWIG's classes, of whichever library loads one.
    r"ignore:builtin type \w+ has no __module__ attribute:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.engine)
            for entry in IGNORED_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(entry))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Engines of four pools' replicas, and a classifier."""
    with Stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def gateway(stack: Stack) -> Gateway:
    """A gateway to all of them, with ordinary limits."""
    return stack.gateway()


@pytest.fixture(scope="session")
def reference(stack: Stack) -> Reference:
    """vLLM's own engine. Its end would take torch's state from the others, so it outlives tests."""
    return Reference()


@pytest.fixture(autouse=True)
def nothing_left(stack: Stack) -> Iterator[None]:
    """After every test no request is left anywhere."""
    yield
    stack.settle()
