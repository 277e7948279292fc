"""The key that signs: made once, kept from others, never replaced behind one's back."""

import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.audit.signing import SigningKey, load_signing_key
from tests.unit.audit.logs import KEY


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = load_signing_key(folder, {})
    assert load_signing_key(folder, {}).public == first.public
    file = folder / "audit.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["audit.key"]


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_signing_key(tmp_path, {}).public, range(32)))
    assert len(set(keys)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["audit.key"]


def test_the_environment_comes_first(tmp_path: Path) -> None:
    given = {"TIDEGATE_AUDIT_KEY": bytes(range(32)).hex()}
    assert load_signing_key(tmp_path, given).public == KEY.public
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_signing_key(tmp_path, {})
    (tmp_path / "audit.key").chmod(mode)
    with pytest.raises(ValueError, match="chmod 600"):
        load_signing_key(tmp_path, {})


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "\xff\xfe", "0" * 100_000])
def test_a_file_with_something_else_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "audit.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ValueError, match="64 hex digits"):
        load_signing_key(tmp_path, {})
    assert file.read_text() == text


def test_an_environment_with_something_else_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="TIDEGATE_AUDIT_KEY") as caught:
        load_signing_key("/nowhere", {"TIDEGATE_AUDIT_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_the_secret_stays_where_it_is() -> None:
    with pytest.raises(TypeError, match="stays in the process"):
        pickle.dumps(KEY)
    assert repr(KEY) == f"SigningKey(public={KEY.public.hex()})"
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(b"short")
