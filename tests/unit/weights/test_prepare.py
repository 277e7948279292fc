"""What happens before anything of a model may be loaded, and in which order."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.config.fleet import ModelConfig
from app.config.weights import S3Config, WeightsConfig
from app.errors import ConfigError, WeightsRefused, WeightsUnavailable
from app.weights.manifest import SIGNATURE_FILE
from app.weights.prepare import Prepared, prepare
from app.weights.refusal import Reason
from app.weights.signing import sign_model
from tests.unit.weights.buckets import PREFIX, Bucket, Fault, Faulty
from tests.unit.weights.processes import outputs, running
from tests.unit.weights.signed import DAY, KEY, NOW, STRANGER, refused, signed_model, trusted

WEIGHTS = ["model-1.safetensors", "model-2.safetensors"]
OTHERS = ["config.json", "text-2.txt", "text/chat_template.jinja"]


class Node:
    """A node's configuration; calls prepare with it."""

    def __init__(self, tmp_path: Path, source: str, **weights: Any) -> None:
        self.cache = tmp_path / "cache"
        self.source = source
        self.weights = WeightsConfig(
            **{"keys": (trusted(),), "cache_dir": str(self.cache)} | weights
        )

    def model(self, **fields: Any) -> ModelConfig:
        return ModelConfig(**{"name": "tiny", "source": self.source, "max_model_len": 64} | fields)

    def prepare(self, now: datetime = NOW, **asked: Any) -> Prepared:
        source = asked.pop("source", self.source)
        return prepare(self.model(source=source), self.weights, now=now, **asked)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return signed_model(tmp_path / "model", version=3)


@pytest.fixture
def local(tmp_path: Path, model: Path) -> Node:
    return Node(tmp_path, str(model))


@pytest.fixture
def remote(tmp_path: Path, model: Path, bucket: Bucket) -> Node:
    bucket.upload(model)
    return Node(tmp_path, f"s3://{bucket.name}/{PREFIX}", s3=bucket.config)


@pytest.fixture(params=["local", "remote"])
def node(request: pytest.FixtureRequest) -> Node:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Node)
    return found


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def only_headers(folder: Path, model: Path) -> None:
    """What lies beside the configuration has the headers of the weights, and none of their data."""
    for name in WEIGHTS:
        whole = (model / name).read_bytes()
        length = 8 + int.from_bytes(whole[:8], "little")
        assert (folder / name).read_bytes() == whole[:length]
        assert length < len(whole)


def test_a_model_in_a_directory(local: Node, model: Path) -> None:
    prepared = local.prepare()
    assert (prepared.model, prepared.key_id, prepared.manifest.version) == ("tiny", "release", 3)
    assert prepared.weights == model
    assert prepared.fetched_bytes == 0
    assert prepared.fetch_s >= 0 < prepared.verify_s
    assert files(prepared.folder) == sorted([*OTHERS, *WEIGHTS])
    only_headers(prepared.folder, model)
    prepared.discard()
    prepared.close()
    assert files(model) == sorted([*WEIGHTS, *OTHERS, SIGNATURE_FILE])


def test_a_model_in_a_bucket(remote: Node, model: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    prepared = remote.prepare(progress=lambda *step: steps.append(step))
    assert prepared.weights.parent == remote.cache
    assert files(prepared.weights) == WEIGHTS
    assert files(prepared.folder) == sorted([*OTHERS, *WEIGHTS])
    only_headers(prepared.folder, model)
    for name in WEIGHTS:
        assert (prepared.weights / name).read_bytes() == (model / name).read_bytes()
    total = sum((model / name).stat().st_size for name in WEIGHTS)
    assert steps[-1] == ("fetch", total, total)
    assert prepared.fetched_bytes == sum(path.stat().st_size for path in model.rglob("*.*"))
    prepared.close()
    again = remote.prepare()
    assert again.fetched_bytes == (model / SIGNATURE_FILE).stat().st_size
    assert (again.folder, again.weights) == (prepared.folder, prepared.weights)


def test_a_gateway_needs_no_weights(remote: Node) -> None:
    prepared = remote.prepare(with_weights=False)
    assert files(prepared.folder) == OTHERS
    assert not list(remote.cache.glob("sha256-*"))
    prepared.close()


def test_a_damaged_copy_is_fetched_again(remote: Node, model: Path) -> None:
    prepared = remote.prepare()
    other = remote.prepare()
    prepared.discard()
    assert files(prepared.weights) == WEIGHTS
    other.discard()
    assert not prepared.weights.exists()
    with_fresh = remote.prepare()
    assert with_fresh.fetched_bytes > (model / SIGNATURE_FILE).stat().st_size
    with_fresh.close()


def test_older_versions_are_refused(node: Node) -> None:
    with refused(Reason.OLDER_VERSION, "version 3", "version 4"):
        node.prepare(least_version=4)
    with refused(Reason.OLDER_VERSION, "version 3", "version 4"):
        prepare(node.model(least_version=4), node.weights, now=NOW)
    node.prepare(least_version=3).close()


def test_what_was_verified_once_is_the_least(local: Node, model: Path) -> None:
    old = (model / SIGNATURE_FILE).read_bytes()
    local.prepare().close()
    sign_model(model, "tiny", 4, KEY)
    local.prepare(with_weights=False).close()
    (model / SIGNATURE_FILE).write_bytes(old)
    with refused(Reason.OLDER_VERSION):
        local.prepare()


def test_a_refused_version_raises_nothing(local: Node, model: Path) -> None:
    sign_model(model, "tiny", 9, KEY)
    (model / "config.json").write_text("other")
    with pytest.raises(WeightsRefused):
        local.prepare()
    (model / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    sign_model(model, "tiny", 3, KEY)
    local.prepare().close()


def test_nothing_is_read_before_the_signature_is_believed(
    tmp_path: Path, remote: Node, bucket: Bucket, faulty: Faulty
) -> None:
    s3 = bucket.config.model_copy(update={"endpoint": faulty.url})
    keys = {"unknown": trusted(STRANGER), "expired": trusted(expires_at=NOW - DAY)}
    keys |= {"revoked": trusted(revoked=True), "not_for_model": trusted(models=("other",))}
    for reason, key in keys.items():
        weights = remote.weights.model_copy(update={"keys": (key,), "s3": s3})
        with pytest.raises(WeightsRefused) as caught:
            prepare(remote.model(), weights, now=NOW)
        assert reason in caught.value.reason
    assert {asked.path.rpartition("/")[2] for asked in faulty.asked} == {SIGNATURE_FILE}
    assert not (remote.cache / "config").exists()


def test_an_unsigned_model(local: Node, remote: Node, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with refused(Reason.UNSIGNED, SIGNATURE_FILE):
        local.prepare(source=str(tmp_path / "empty"))
    with refused(Reason.UNSIGNED, SIGNATURE_FILE):
        remote.prepare(source=f"{remote.source}-elsewhere")


def test_a_changed_small_file(local: Node, model: Path) -> None:
    local.prepare().close()
    path = model / "text" / "chat_template.jinja"
    path.write_text(path.read_text().replace("messages", "massages"))
    # Even where there is a good copy: whoever changed this may have changed the weights.
    with refused(Reason.CHANGED_FILE, "chat_template"):
        local.prepare()


def test_a_changed_small_file_in_a_bucket(remote: Node, bucket: Bucket) -> None:
    bucket.put("config.json", bucket.get("config.json").replace(b"Llama", b"Lamma"))
    with refused(Reason.CHANGED_FILE, "config.json"):
        remote.prepare(with_weights=False)


def test_changed_weights_in_a_bucket(remote: Node, bucket: Bucket) -> None:
    data = bucket.get(WEIGHTS[1])
    bucket.put(WEIGHTS[1], data[:-1] + bytes([data[-1] ^ 1]))
    with refused(Reason.CHANGED_FILE, WEIGHTS[1]):
        remote.prepare()
    assert not list(remote.cache.glob("sha256-*"))


def test_a_directory_is_checked_for_what_does_not_belong(local: Node, model: Path) -> None:
    (model / "more.txt").write_text("x")
    with refused(Reason.EXTRA_FILE, "more.txt"):
        local.prepare()
    (model / "more.txt").unlink()
    (model / WEIGHTS[0]).unlink()
    (model / WEIGHTS[0]).symlink_to(model / WEIGHTS[1])
    with refused(Reason.LINK, WEIGHTS[0]):
        local.prepare()


def test_a_header_that_is_malformed(local: Node, model: Path) -> None:
    data = bytearray((model / WEIGHTS[0]).read_bytes())
    data[0] ^= 1
    (model / WEIGHTS[0]).write_bytes(data)
    with refused(Reason.BAD_HEADER, WEIGHTS[0]):
        local.prepare()


def test_the_copies_are_what_was_signed_and_nothing_else(node: Node, model: Path) -> None:
    folder = node.prepare().folder
    kept = (folder / "text-2.txt").stat().st_ino
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/hostname")
    (folder / "text" / "chat_template.jinja").chmod(0o600)
    (folder / "text" / "chat_template.jinja").write_text("{{ other }}")
    (folder / WEIGHTS[0]).chmod(0o600)
    (folder / WEIGHTS[0]).write_bytes(b"another header")
    (folder / "preprocessor_config.json").write_text("{}")
    (folder / "extra" / "deep").mkdir(parents=True)
    (folder / "extra" / "deep" / "x.json").write_text("{}")
    again = node.prepare()
    assert again.folder == folder
    assert files(folder) == sorted([*OTHERS, *WEIGHTS])
    only_headers(folder, model)
    assert not (folder / "extra").exists()
    for name in OTHERS:
        assert not (folder / name).is_symlink()
        assert (folder / name).read_bytes() == (model / name).read_bytes()
    assert (folder / "text-2.txt").stat().st_ino == kept


def test_sources_that_are_none(local: Node, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unverified: true"):
        local.prepare(source="meta-llama/Llama-3.1-8B")
    with pytest.raises(WeightsUnavailable, match="mount it"):
        local.prepare(source=str(tmp_path / "nowhere"))


def away(node: Node, endpoint: str) -> WeightsConfig:
    # The same service to whoever looks at the configuration, but nobody is there.
    s3 = S3Config.model_construct(**dict(node.weights.s3) | {"endpoint": endpoint, "retries": 0})
    return node.weights.model_copy(update={"s3": s3})


def test_a_service_that_is_away(remote: Node, faulty: Faulty) -> None:
    faulty.choose = lambda _asked: Fault.BUSY
    with pytest.raises(WeightsUnavailable, match="503"):
        prepare(remote.model(), away(remote, faulty.url), now=NOW)


def test_what_a_node_has_starts_without_the_service(
    remote: Node, bucket: Bucket, faulty: Faulty
) -> None:
    node = away(remote, faulty.url)
    first = prepare(remote.model(), node, now=NOW)
    first.close()
    faulty.choose = lambda _asked: Fault.BUSY
    again = prepare(remote.model(), node, now=NOW)
    assert (again.manifest, again.folder) == (first.manifest, first.folder)
    assert again.weights == first.weights
    assert again.fetched_bytes == 0
    again.close()
    # Who is believed is asked again.
    revoked = node.model_copy(update={"keys": (trusted(revoked=True),)})
    with refused(Reason.REVOKED_KEY):
        prepare(remote.model(), revoked, now=NOW)
    with refused(Reason.OLDER_VERSION):
        prepare(remote.model(), node, least_version=4, now=NOW)
    # What it has not is not made up.
    again.discard()
    with pytest.raises(WeightsUnavailable, match="503"):
        prepare(remote.model(), node, now=NOW)
    prepare(remote.model(), node, with_weights=False, now=NOW).close()


def test_what_was_taken_from_the_bucket_is_not_remembered(remote: Node, bucket: Bucket) -> None:
    remote.prepare().close()
    bucket.remove(SIGNATURE_FILE)
    with refused(Reason.UNSIGNED):
        remote.prepare()


PROCESS = """
import sys
from tests.unit.weights.signed import NOW
from app.config.fleet import ModelConfig
from app.config.weights import WeightsConfig
from app.weights.prepare import prepare
weights = WeightsConfig.model_validate_json(sys.stdin.read())
prepared = prepare(ModelConfig.model_validate_json(sys.argv[1]), weights, now=NOW)
assert len(list(prepared.weights.iterdir())) == 2
print(prepared.fetched_bytes)
"""


def test_replicas_that_start_together_fetch_once(remote: Node, model: Path) -> None:
    arguments = [remote.model().model_dump_json()]
    with running(PROCESS, arguments, arguments) as processes:
        fetched = [int(said) for said in outputs(processes, remote.weights.model_dump_json())]
    signature = (model / SIGNATURE_FILE).stat().st_size
    everything = sum(path.stat().st_size for path in model.rglob("*.*"))
    assert sum(fetched) == everything + signature
