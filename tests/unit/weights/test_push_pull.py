"""A signed model moved to where fleets fetch it, and back."""

import re
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.config.weights import S3Config
from app.errors import WeightsUnavailable
from app.weights.destination import Destination, destination
from app.weights.key_files import public_pem
from app.weights.manifest import SIGNATURE_FILE, Manifest
from app.weights.place import LocalPlace, Place
from app.weights.push import check, pull, push
from app.weights.refusal import Reason
from app.weights.signing import sign_model
from app.weights.source import LocalSource, S3Source
from tests.unit.weights.buckets import PREFIX, Bucket, Fault, Faulty, through
from tests.unit.weights.signed import (
    KEY,
    NOW,
    RING,
    STRANGER,
    make_model,
    refused,
    signed_model,
    verify,
)

WEIGHTS = ["model-1.safetensors", "model-2.safetensors"]


class Target:
    """A place to push to and pull from, in a bucket or in a folder."""

    def __init__(self, source: LocalSource | S3Source, config: S3Config, bucket: Bucket) -> None:
        self.source, self._config, self._bucket = source, config, bucket

    def open(self) -> Destination:
        return destination(self.source, self._config)

    @property
    def place(self) -> Place:
        if isinstance(self.source, S3Source):
            return self._bucket.place
        return LocalPlace(self.source.path)

    def put(self, name: str, data: bytes) -> None:
        if isinstance(self.source, S3Source):
            return self._bucket.put(name, data)
        (self.source.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.source.path / name).write_bytes(data)
        return None

    def names(self) -> set[str]:
        return set(self.open().names())


@pytest.fixture(params=["bucket", "folder"])
def target(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Target:
    local = LocalSource(tmp_path / "target")
    return Target(bucket.source if request.param == "bucket" else local, bucket.config, bucket)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return signed_model(tmp_path / "tiny")


def pulled(place: Place, into: Path) -> Manifest:
    return pull(place, into, ring=RING, model="tiny", now=NOW)


def same(one: Path, other: Path) -> bool:
    return contents(one) == contents(other)


def contents(root: Path) -> dict[str, bytes]:
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_there_and_back(target: Target, model: Path, tmp_path: Path) -> None:
    checked = check(model, ring=RING, now=NOW)
    pushed: list[tuple[int, int]] = []
    push(checked, target.open(), progress=lambda *step: pushed.append(step))
    assert target.names() == set(contents(model))
    assert pushed[-1] == (checked.bytes, checked.bytes)
    steps: list[tuple[int, int]] = []
    into = tmp_path / "back"
    manifest = pull(
        target.place,
        into,
        ring=RING,
        model="tiny",
        now=NOW,
        progress=lambda *step: steps.append(step),
    )
    assert same(into, model)
    assert verify(into) == manifest
    assert steps[-1] == (checked.bytes, checked.bytes)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_signature_goes_last(model: Path) -> None:
    class Recorder:
        def __init__(self, *there: str) -> None:
            self.there, self.done = there, list[str]()

        def names(self) -> list[str]:
            return list(self.there)

        def put(self, name: str, path: Path, progress: object) -> None:
            self.done.append(f"put {name}")

        def write(self, name: str, data: bytes) -> None:
            self.done.append(f"write {name}")

        def remove(self, name: str) -> None:
            self.done.append(f"remove {name}")

    fresh, old = Recorder(), Recorder(SIGNATURE_FILE, "old.txt")
    push(check(model), fresh)
    assert [what.split()[1] for what in fresh.done[:2]] == WEIGHTS
    assert fresh.done[-1] == f"write {SIGNATURE_FILE}"
    push(check(model), old, replace=True)
    assert old.done[0] == f"remove {SIGNATURE_FILE}"
    assert old.done[-2:] == ["remove old.txt", f"write {SIGNATURE_FILE}"]


def test_a_push_that_broke_off_is_begun_again(target: Target, model: Path, tmp_path: Path) -> None:
    target.put(WEIGHTS[0], b"half of it")
    with refused(Reason.UNSIGNED, SIGNATURE_FILE):
        pulled(target.place, tmp_path / "back")
    push(check(model), target.open())
    pulled(target.place, tmp_path / "back")
    assert same(tmp_path / "back", model)


def test_another_model_is_not_overwritten_unasked(
    target: Target, model: Path, tmp_path: Path
) -> None:
    push(check(model), target.open())
    (model / "more.txt").write_text("more")
    (model / "text-2.txt").unlink()
    sign_model(model, "tiny", 4, KEY)
    with pytest.raises(ValueError, match="--replace"):
        push(check(model), target.open())
    push(check(model), target.open(), replace=True)
    assert target.names() == set(contents(model))
    assert pulled(target.place, tmp_path / "back").version == 4


def test_strange_files_are_not_mixed_with(target: Target, model: Path) -> None:
    target.put("notes.txt", b"mine")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        push(check(model), target.open())


def test_what_does_not_verify_is_not_pushed(model: Path, tmp_path: Path) -> None:
    with refused(Reason.UNSIGNED, "not signed"):
        check(make_model(tmp_path / "unsigned"))
    sign_model(model, "tiny", 5, STRANGER)
    check(model)
    with refused(Reason.UNKNOWN_KEY):
        check(model, ring=RING, now=NOW)
    (model / "text-2.txt").write_text("less")
    with refused(Reason.CHANGED_FILE, "text-2.txt"):
        check(model)


def test_what_was_changed_there_is_not_pulled(target: Target, model: Path, tmp_path: Path) -> None:
    push(check(model), target.open())
    for name in (WEIGHTS[1], "config.json"):
        data = (model / name).read_bytes()
        target.put(name, data[:-1] + bytes([data[-1] ^ 1]))
        with refused(Reason.CHANGED_FILE, name):
            pulled(target.place, tmp_path / "back")
        target.put(name, data)
        assert not (tmp_path / "back").exists()
    target.put("more.txt", b"more")
    with refused(Reason.EXTRA_FILE, "more.txt"):
        pulled(target.place, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_pull_that_broke_off_goes_on(
    model: Path, bucket: Bucket, faulty: Faulty, tmp_path: Path
) -> None:
    bucket.upload(model)
    faulty.choose = lambda asked: Fault.CUT if asked.path.endswith(WEIGHTS[1]) else Fault.NONE
    with pytest.raises(WeightsUnavailable):
        pulled(through(bucket, faulty, retries=0), tmp_path / "back")
    faulty.choose = lambda _asked: Fault.NONE
    faulty.asked.clear()
    pulled(through(bucket, faulty), tmp_path / "back")
    assert same(tmp_path / "back", model)
    assert not faulty.ranges(WEIGHTS[0])
    assert faulty.ranges(WEIGHTS[1])


def test_nothing_is_pulled_over_what_is_there(target: Target, model: Path, tmp_path: Path) -> None:
    push(check(model), target.open())
    (tmp_path / "back").mkdir()
    pulled(target.place, tmp_path / "back")
    with pytest.raises(ValueError, match="is there already"):
        pulled(target.place, tmp_path / "back")


def test_two_pulls_into_one_folder(target: Target, model: Path, tmp_path: Path) -> None:
    push(check(model), target.open())
    entered, go_on = threading.Event(), threading.Event()

    def wait(_done: int, _total: int) -> None:
        entered.set()
        assert go_on.wait(10)

    first = threading.Thread(
        target=lambda: pull(
            target.place, tmp_path / "back", ring=RING, model="tiny", now=NOW, progress=wait
        )
    )
    first.start()
    assert entered.wait(10)
    with pytest.raises(ValueError, match="another process"):
        pulled(target.place, tmp_path / "back")
    go_on.set()
    first.join()
    assert same(tmp_path / "back", model)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["model", *map(str, arguments)])
    return result.exit_code, re.sub(r"\s+", " ", result.output)


def test_the_commands(model: Path, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(public_pem(KEY.public_key()))
    (tmp_path / "other.pub").write_bytes(public_pem(STRANGER.public_key()))
    where, endpoint = f"s3://{bucket.name}/{PREFIX}", ("--endpoint", bucket.config.endpoint)
    trust = ("--public-key", tmp_path / "key.pub")
    code, said = run("push", model, where, *endpoint, "--public-key", tmp_path / "other.pub")
    assert (code, "unknown_key" in said) == (1, True)
    code, said = run("push", model, where, *endpoint, *trust)
    assert (code, f"{where}: tiny, " in said) == (0, True)
    code, said = run("push", model, where, *endpoint)
    assert (code, "--replace" in said) == (2, True)
    assert run("push", model, where, *endpoint, "--replace")[0] == 0
    code, said = run("pull", where, tmp_path / "back", *endpoint)
    assert (code, "--public-key" in said) == (2, True)
    code, said = run("pull", where, tmp_path / "back", *endpoint, *trust, "--least-version", 9)
    assert (code, "older_version" in said) == (1, True)
    assert run("pull", where, tmp_path / "back", *endpoint, *trust)[0] == 0
    assert same(tmp_path / "back", model)


def test_the_commands_on_folders(model: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(public_pem(KEY.public_key()))
    assert run("push", model, tmp_path / "shared" / "tiny")[0] == 0
    trust = ("--public-key", tmp_path / "key.pub")
    assert run("pull", tmp_path / "shared" / "tiny", tmp_path / "back", *trust)[0] == 0
    assert same(tmp_path / "back", model)
    code, said = run("pull", "gs://bucket/x", tmp_path / "more", *trust)
    assert (code, "weights.s3.endpoint" in said) == (2, True)


def test_the_help_has_examples() -> None:
    for command in ("push", "pull"):
        code, said = run(command, "--help")
        assert code == 0
        assert f"tidegate model {command} " in said
