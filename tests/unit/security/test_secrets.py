import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import ConfigError
from app.security.keys import parse
from app.security.secrets import MasterSecret, admin_key

HEX = "0f" * 32


def test_the_environment_comes_first(tmp_path: Path) -> None:
    secret = MasterSecret.load(tmp_path, {"TIDEGATE_MASTER_KEY": f" {HEX}\n"})
    assert secret.derive("a") == MasterSecret(bytes.fromhex(HEX)).derive("a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    first = MasterSecret.load(directory, {})
    path = directory / "master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert re.fullmatch(r"[0-9a-f]{64}\n", path.read_text())
    assert MasterSecret.load(directory, {}).derive("a") == first.derive("a")
    assert [entry.name for entry in directory.iterdir()] == ["master.key"]


def test_labels_and_secrets_give_independent_keys() -> None:
    one, other = MasterSecret(bytes(32)), MasterSecret(bytes([1]) * 32)
    derived = {one.derive("a"), one.derive("b"), other.derive("a")}
    assert len(derived) == 3
    assert all(len(key) == 32 for key in derived)
    assert one.check_value != other.check_value
    assert 0 <= one.check_value < 1 << 62


def test_a_secret_is_not_shown() -> None:
    assert repr(MasterSecret(bytes.fromhex(HEX))) == "MasterSecret(...)"


@pytest.mark.parametrize("text", ["", "0f", HEX[:-1], HEX + "0", "zz" * 32, "0f " * 32])
def test_what_is_no_master_key_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as from_variable:
        MasterSecret.load(tmp_path, {"TIDEGATE_MASTER_KEY": text})
    assert from_variable.value.issues[0].path == "TIDEGATE_MASTER_KEY"
    path = tmp_path / "master.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as from_file:
        MasterSecret.load(tmp_path, {})
    assert from_file.value.issues[0].path == str(path)
    if len(text) > 4:
        assert text not in str(from_variable.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    MasterSecret.load(tmp_path, {})
    (tmp_path / "master.key").chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        MasterSecret.load(tmp_path, {})


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "master.key").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="not a plain file"):
        MasterSecret.load(tmp_path, {})
    os.mkfifo(tmp_path / "admin.key", 0o600)
    with pytest.raises(ConfigError, match="not a plain file"):
        admin_key(tmp_path, {})


def test_huge_and_binary_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(b"0" * 100_000)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="longer than 4096 bytes"):
        MasterSecret.load(tmp_path, {})
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ConfigError, match="ASCII"):
        MasterSecret.load(tmp_path, {})


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data_dir"):
        MasterSecret.load(tmp_path / "file" / "data", {})


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from app.security.secrets import MasterSecret, admin_key;"
        "print(MasterSecret.load(sys.argv[1], {}).derive('a').hex(), admin_key(sys.argv[1], {})[0])"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        )
        for _ in range(4)
    ]
    answers = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(answers) == 1
    assert answers != {b""}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin.key", "master.key"]


def test_an_admin_key_is_made_once(tmp_path: Path) -> None:
    key, path = admin_key(tmp_path, {})
    assert path == tmp_path / "admin.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert parse(key) is not None
    assert admin_key(tmp_path, {}) == (key, path)


def test_any_long_text_may_be_the_admin_key(tmp_path: Path) -> None:
    text = "correct-horse/battery+staple=16!"
    assert admin_key(tmp_path, {"TIDEGATE_ADMIN_KEY": text}) == (text, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "32 to 512 characters, not 0"),
        ("k" * 31, "32 to 512 characters, not 31"),
        ("k" * 513, "32 to 512 characters, not 513"),
        ("k" * 40 + "\n", "visible ASCII"),
        ("k " * 20, "visible ASCII"),
        ("k\u00e9" * 20, "visible ASCII"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "token"),
    ],
)
def test_what_cannot_be_an_admin_key_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        admin_key(tmp_path, {"TIDEGATE_ADMIN_KEY": text})
    assert refused.value.issues[0].path == "TIDEGATE_ADMIN_KEY"
