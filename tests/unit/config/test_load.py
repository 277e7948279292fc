"""Files: those of this repository, and those that are not what they should be."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import Market, Role, SizeClass, load_config, parse_config
from app.errors import ConfigError

ROOT = Path(__file__).parents[3]
Args = dict[str, Any]


def write(path: Path, document: object) -> Path:
    file = path / "config.yaml"
    file.write_text(
        document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False)
    )
    return file


def first_issue(file: Path) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    return caught.value.issues[0]


def test_serve_config_is_valid() -> None:
    fleet = load_config(ROOT / "serve_config.yaml")
    assert {pool.name: (pool.zone, pool.size_classes) for pool in fleet.pools} == {
        "public-small": ("public", (SizeClass.SMALL, SizeClass.MEDIUM)),
        "public-large": ("public", (SizeClass.LARGE, SizeClass.XL)),
        "private": ("private", tuple(SizeClass)),
        "confidential": ("confidential", tuple(SizeClass)),
    }
    cpus = sum(pool.resources.cpus * len(pool.markets) for pool in fleet.pools)
    assert cpus + fleet.gateway.cpus + fleet.classifier.cpus <= 2
    # 4 KiB of KV cache a token: the longest request has to fit.
    for pool in fleet.pools:
        assert pool.engine.kv_cache_memory is not None
        assert pool.engine.kv_cache_memory >= 4096 * pool.engine.max_model_len
    assert not fleet.pool("confidential").engine.enable_prefix_caching


def test_the_example_for_this_machine_fits_on_it() -> None:
    fleet = load_config(ROOT / "examples/disaggregated.yaml")
    (pool,) = fleet.pools
    assert pool.size_classes == tuple(SizeClass)
    prefill, decode = pool.side(Role.PREFILL), pool.side(Role.DECODE)
    assert (prefill.engine.pipeline_parallel_size, decode.engine.tensor_parallel_size) == (2, 2)

    cpus = prefill.resources.cpus + decode.resources.cpus + fleet.ledger.cpus
    assert cpus + fleet.gateway.cpus + fleet.classifier.cpus <= 2
    for side in (prefill, decode):
        assert side.engine.kv_cache_memory is not None
        # 4 KiB of KV cache a token, half of it on either rank: sixteen prompts of 8,000 tokens.
        assert side.engine.kv_cache_memory * 2 // 4096 >= 16 * 8192
        assert side.engine.kv_cache_memory * 2 // 4096 >= side.max_outstanding_tokens
        assert side.engine.max_num_seqs >= 16


def test_the_example_for_gpus() -> None:
    fleet = load_config(ROOT / "examples/disaggregated-gpu.yaml")
    placed = [
        (each.role, each.market, each.pool.engine.world_size, each.pool.resources.gpus_per_node)
        for each in fleet.deployments()
    ]
    assert placed == [(Role.PREFILL, Market.SPOT, 4, 2), (Role.DECODE, Market.ON_DEMAND, 4, 4)]


@pytest.mark.filterwarnings("ignore")  # Ray's own, on import.
@pytest.mark.parametrize(
    "file",
    [
        "serve_config.yaml",
        "serve_config.gpu.yaml",
        "examples/disaggregated.yaml",
        "examples/disaggregated-gpu.yaml",
    ],
)
def test_files_are_what_serve_takes(file: str) -> None:
    from ray.serve.schema import HTTPOptionsSchema, ServeDeploySchema

    document = yaml.safe_load((ROOT / file).read_text())
    parsed = ServeDeploySchema.model_validate(document)
    assert parsed.applications[0].name == "tidegate"
    # Serve ignores what it does not know.
    assert set(document) <= set(ServeDeploySchema.model_fields)
    assert set(document["http_options"]) <= set(HTTPOptionsSchema.model_fields)


@pytest.mark.filterwarnings("ignore")  # Ray's own, on import.
def test_cluster_yaml_is_what_ray_takes() -> None:
    import ray.autoscaler

    jsonschema = pytest.importorskip("jsonschema")
    schema_file = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    jsonschema.validate(cluster, json.loads(schema_file.read_text()))

    node_types = cluster["available_node_types"]
    assert cluster["head_node_type"] in node_types
    workers = [node for name, node in node_types.items() if name != cluster["head_node_type"]]
    assert {node["labels"]["ray.io/market-type"] for node in workers} == {"on-demand", "spot"}
    assert sum(node["max_workers"] for node in workers) <= cluster["max_workers"]
    for node in workers:
        bought = node["node_config"].get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        assert node["labels"]["ray.io/market-type"] == bought


def test_our_application_is_found_among_others(tmp_path: Path, args: Args) -> None:
    applications = [
        {"name": "other", "import_path": "other:app"},
        {"name": "tidegate", "import_path": "app.main:build", "args": args},
    ]
    file = write(tmp_path, {"applications": applications})
    assert load_config(file) == parse_config(args)

    args["default_zone"] = "publik"
    file = write(tmp_path, {"applications": applications})
    assert first_issue(file)[0] == "applications[1].args.default_zone"


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ("", "applications", "not a Ray Serve configuration"),
        ("- 1", "applications", "not a Ray Serve configuration"),
        ({"applications": []}, "applications", "0 of 0"),
        ({"applications": [{"import_path": "x:y"}]}, "applications", "exactly one must"),
        ({"applications": [{"import_path": "app.main:build"}] * 2}, "applications", "2 of 2"),
        ("a: [1", "line 1, column 6", "expected"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4, column 3", "the key 'c' is given twice"),
        ("a: \x07", "config.yaml", "is not YAML"),
        ("a: *b", "line 1, column 4", "undefined alias"),
    ],
)
def test_what_is_not_a_configuration(
    tmp_path: Path, document: object, path: str, message: str
) -> None:
    where, what = first_issue(write(tmp_path, document))
    assert where.endswith(path)
    assert message in what


def test_no_args_is_every_required_key_missing(tmp_path: Path) -> None:
    file = write(tmp_path, {"applications": [{"import_path": "app.main:build"}]})
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert {issue.path for issue in caught.value.issues} == {
        f"applications[0].args.{key}" for key in ("models", "zones", "default_zone", "pools")
    }


def test_merged_mappings_may_be_overridden(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, y: 3}\napplications: []\n"
    assert first_issue(write(tmp_path, text))[1].startswith("0 of 0")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(IsADirectoryError):
        load_config(tmp_path)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"a: \xff\xfe")
    assert "is not YAML" in first_issue(file)[1]
