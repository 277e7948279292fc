"""What a model's `source` means."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.weights.source import LocalSource, S3Source, parse_source


def test_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "demo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_source("models/demo") == LocalSource(Path("models/demo"))
    assert parse_source("/mnt/not/there/yet") == LocalSource(Path("/mnt/not/there/yet"))
    assert parse_source("./demo") == LocalSource(Path("demo"))
    assert parse_source("~/demo") == LocalSource(tmp_path / "demo")


@pytest.mark.parametrize("text", ["s3://weights/models/demo", "s3://weights/models/demo/"])
def test_a_prefix_in_a_bucket(text: str) -> None:
    source = parse_source(text)
    assert source == S3Source("weights", "models/demo")
    assert isinstance(source, S3Source)
    assert source.key("text/a.json") == "models/demo/text/a.json"
    assert str(source) == "s3://weights/models/demo"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("meta-llama/Llama-3.1-8B", "hub"),
        ("https://host/model", "weights.s3.endpoint"),
        ("gs://bucket/model", "weights.s3.endpoint"),
        ("s3://", "bucket"),
        ("s3:///prefix", "bucket"),
        ("s3://UPPER/prefix", "bucket"),
        ("s3://weights", "prefix"),
        ("s3://weights/", "prefix"),
        ("s3://weights/a//b", "prefix"),
        ("s3://weights/../b", "prefix"),
    ],
)
def test_everything_else_says_the_way_out(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        parse_source(text)
    assert repr(text) in str(caught.value)
    assert "s3://" in str(caught.value)


@given(st.text())
def test_any_prefix_is_kept_or_refused(prefix: str) -> None:
    try:
        source = parse_source(f"s3://weights/{prefix}")
    except ValueError:
        return
    assert isinstance(source, S3Source)
    assert parse_source(str(source)) == source
    assert ".." not in source.prefix.split("/")
