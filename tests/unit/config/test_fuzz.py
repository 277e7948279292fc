"""Whatever stands in the file, the answer is a configuration or a ConfigError with paths."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config import FleetConfig, load_config, parse_config
from app.errors import ConfigError

ROOT = Path(__file__).parents[3]
FILES = (
    "serve_config.yaml",
    "serve_config.gpu.yaml",
    "examples/disaggregated.yaml",
    "examples/disaggregated-gpu.yaml",
)
ARGS: dict[str, dict[str, Any]] = {
    file: yaml.safe_load((ROOT / file).read_text())["applications"][0]["args"] for file in FILES
}

# How long an example takes says more about the machine than about the code.
fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from(["public", "private", "demo", "small", "xl", "spot", "64MiB", "ray", "gpu"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything within a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    else:
        entries = []
    for key, inner in entries:
        found += places(inner, (*path, key))
    return found


def holds_or_explains(args: Any) -> None:
    try:
        fleet = parse_config(args)
    except ConfigError as error:
        assert error.issues
        for issue in error.issues:
            assert issue.path.startswith("args")
            assert issue.message
            assert len(str(issue)) < 4000
    else:
        assert parse_config(fleet.model_dump(mode="json")) == fleet


@fuzz
@given(values)
def test_anything(args: Any) -> None:
    holds_or_explains(args)


@fuzz
@given(st.dictionaries(st.sampled_from(list(FleetConfig.model_fields)), values))
def test_anything_in_known_sections(args: Any) -> None:
    holds_or_explains(args)


@settings(fuzz, max_examples=200)
@pytest.mark.parametrize("file", FILES)
@given(data=st.data())
def test_a_valid_file_with_mistakes(file: str, data: st.DataObject) -> None:
    args = copy.deepcopy(ARGS[file])
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(places(args)))
        here = args
        for part in parents:
            here = here[part]
        if data.draw(st.booleans()):
            here[last] = data.draw(values)
        else:
            del here[last]
    holds_or_explains(args)


@fuzz
@given(data=st.binary(max_size=200))
def test_any_file(data: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "serve_config.yaml"
    path.write_bytes(data)
    try:
        load_config(path)
    except ConfigError as error:
        assert error.issues
