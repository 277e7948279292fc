"""``tidegate model``: keys, signatures and what they say, on files alone."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typer.testing import CliRunner, Result

from app.cli import app
from app.weights.key_files import load_private, make_keys, public_pem
from tests.unit.weights.signed import make_model

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "models/demo")
DEMO_KEY = str(ROOT / "models/demo.pub")
CONFIG = str(ROOT / "serve_config.yaml")


def run(*args: str | Path, env: dict[str, str] | None = None) -> Result:
    words = ["model", *map(str, args)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"} | (env or {}))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_keys(tmp_path / "key", tmp_path / "key.pub")
    return tmp_path / "key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "tiny")


def test_a_key_signs_and_its_other_half_verifies(tmp_path: Path, folder: Path) -> None:
    key, public = tmp_path / "release.key", tmp_path / "release.key.pub"
    made = run("keygen", key)
    assert made.exit_code == 0, made.output
    assert str(public) in made.stdout
    assert "not encrypted" in made.stdout
    assert key.stat().st_mode & 0o777 == 0o600
    signed = run("sign", folder, "--version", "5", "--key", key)
    assert signed.exit_code == 0, signed.output
    assert "tiny, version 5" in signed.stdout
    assert "chmod" not in signed.stderr
    verified = run("verify", folder, "--public-key", public)
    assert verified.exit_code == 0, verified.output
    assert "tiny, version 5, signed with key release.key.pub; 5 files" in verified.stdout


def test_a_key_is_never_overwritten(key: Path) -> None:
    before = key.read_bytes()
    result = run("keygen", key)
    assert result.exit_code == 2
    assert "exists" in result.stderr
    assert key.read_bytes() == before


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path, folder: Path) -> None:
    key, secret = tmp_path / "key", {"TIDEGATE_SIGNING_PASSPHRASE": "tide"}
    assert run("keygen", key, tmp_path / "pub", env=secret).exit_code == 0
    assert b"ENCRYPTED" in key.read_bytes()
    assert (tmp_path / "pub").exists()
    sign = ("sign", folder, "--version", "1", "--key", key)
    without = run(*sign)
    assert (without.exit_code, "TIDEGATE_SIGNING_PASSPHRASE" in without.stderr) == (2, True)
    wrong = run(*sign, env={"TIDEGATE_SIGNING_PASSPHRASE": "ebb"})
    assert (wrong.exit_code, "is not its passphrase" in wrong.stderr) == (2, True)
    assert run(*sign, env=secret).exit_code == 0


def test_a_passphrase_does_no_harm_to_an_open_key(key: Path) -> None:
    assert load_private(key, "anything")


def test_keys_that_others_can_read_are_pointed_at(folder: Path, key: Path) -> None:
    key.chmod(0o644)
    result = run("sign", folder, "--version", "1", "--key", key)
    assert result.exit_code == 0
    assert f"chmod 600 {key}" in result.stderr


def test_only_p256_keys_sign(tmp_path: Path, folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization as forms

    key = tmp_path / "key"
    for other in (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        key.write_bytes(
            other.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
        )
        result = run("sign", folder, "--version", "1", "--key", key)
        assert (result.exit_code, "P-256" in result.stderr) == (2, True)
    key.write_text("no key")
    result = run("sign", folder, "--version", "1", "--key", key)
    assert (result.exit_code, "not a private key" in result.stderr) == (2, True)


def test_code_is_not_signed(folder: Path, key: Path) -> None:
    (folder / "modeling.py").write_text("import os")
    result = run("sign", folder, "--version", "1", "--key", key)
    assert result.exit_code == 1
    assert "forbidden_type" in result.stderr
    assert "modeling.py" in result.stderr


def test_what_was_tampered_with_is_refused(folder: Path, key: Path) -> None:
    run("sign", folder, "--version", "1", "--key", key)
    (folder / "text-2.txt").write_text("less")
    result = run("verify", folder, "--public-key", f"{key}.pub")
    assert result.exit_code == 1
    assert result.stderr.startswith("changed_file: 'text-2.txt'")
    assert result.stdout == ""


def test_names_and_versions_can_be_demanded(folder: Path, key: Path) -> None:
    run("sign", folder, "--name", "llama", "--version", "2", "--key", key)
    verify = ("verify", folder, "--public-key", f"{key}.pub")
    assert run(*verify).exit_code == 0
    assert run(*verify, "--model", "llama", "--least-version", "2").exit_code == 0
    other = run(*verify, "--model", "tiny")
    assert (other.exit_code, "other_model" in other.stderr) == (1, True)
    older = run(*verify, "--least-version", "3")
    assert (older.exit_code, "older_version" in older.stderr) == (1, True)


def test_the_signature_comes_before_the_name_in_it(folder: Path, key: Path, tmp_path: Path) -> None:
    run("sign", folder, "--version", "2", "--key", key)
    (tmp_path / "other.pub").write_bytes(
        public_pem(ec.generate_private_key(ec.SECP256R1()).public_key())
    )
    result = run("verify", folder, "--public-key", tmp_path / "other.pub")
    assert (result.exit_code, "unknown_key" in result.stderr) == (1, True)


def test_somebody_has_to_be_believed(folder: Path, key: Path) -> None:
    run("sign", folder, "--version", "2", "--key", key)
    for extra in ((), ("--public-key", DEMO_KEY, "--config", CONFIG)):
        result = run("verify", folder, *extra)
        assert (result.exit_code, "either --public-key or --config" in result.stderr) == (2, True)
    (key.parent / "no.pub").write_text("no key")
    result = run("verify", folder, "--public-key", key.parent / "no.pub")
    assert (result.exit_code, "is not a public key in PEM" in result.stderr) == (2, True)
    result = run("verify", folder, "--public-key", key.parent / "nothing.pub")
    assert (result.exit_code, "nothing.pub" in result.stderr) == (2, True)
    assert run("verify", folder / "nowhere", "--public-key", f"{key}.pub").exit_code == 2


def test_the_demo_model_verifies_by_the_configuration_that_ships(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    result = run("verify", DEMO, "--config", CONFIG, "--model", "demo", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["model"], document["key"], document["version"]) == ("demo", "demo", 1)
    assert document["files"]["model.safetensors"]["bytes"] == 8397312
    result = run("verify", DEMO, "--config", CONFIG)
    assert (result.exit_code, "name one of the models" in result.stderr) == (2, True)


def test_the_configuration_can_revoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["applications"][0]["args"]["weights"]["keys"][0]["revoked"] = True
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    result = run("verify", DEMO, "--config", tmp_path / "serve.yaml", "--model", "demo")
    assert (result.exit_code, "revoked_key" in result.stderr) == (1, True), result.stderr


def test_inspect_believes_nothing_and_says_so(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "demo")
    (tmp_path / "demo" / "model.safetensors").write_bytes(b"broken")
    result = run("inspect", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    for words in ("demo, version 1", "8,397,312", "unreadable", "Nothing of this is verified"):
        assert words in result.stdout
    document = json.loads(run("inspect", DEMO, "--json").stdout)
    assert document["verified"] is False
    assert document["tensors"] == {"model.safetensors": 38}
    assert len(document["key_hint"]) == 64
    (tmp_path / "demo" / "model.sig").unlink()
    assert run("inspect", tmp_path / "demo").exit_code == 1


@pytest.mark.parametrize("command", ["keygen", "sign", "verify", "push", "pull", "inspect"])
def test_every_command_shows_how_it_is_used(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"tidegate model {command}" in result.stdout
