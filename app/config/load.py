"""Reads a configuration, from a dict or from a Ray Serve file."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from app.config.explain import explain
from app.config.fleet import FleetConfig
from app.errors import ConfigError

IMPORT_PATH = "app.main:build"
"""The `import_path` by which an application in a Serve file is ours."""


def parse_config(args: Mapping[str, Any], *, path: str = "args") -> FleetConfig:
    """Validate everything under ``args:``.

    Args:
        args: The mapping, as YAML or JSON gives it.
        path: Where it stands in the file, for the paths of errors.

    Raises:
        ConfigError: It is not valid; carries every mistake that could be found.
    """
    try:
        return FleetConfig.model_validate(args)
    except ValidationError as error:
        issues = explain(error, FleetConfig)
    raise ConfigError(
        (f"{path}.{issue.path}" if issue.path else path, issue.message) for issue in issues
    )


def load_config(path: str | Path) -> FleetConfig:
    """Read and validate the application in a Ray Serve file whose `import_path` is ours.

    Args:
        path: A YAML file such as serve_config.yaml.

    Raises:
        OSError: The file cannot be read.
        ConfigError: It is not YAML, has no such application, or its ``args`` are not valid.
    """
    text = Path(path).read_bytes()
    try:
        document = yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ConfigError([(where, error.problem or "is not YAML")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([(str(path), f"is not YAML: {error}")]) from None
    applications = document.get("applications") if isinstance(document, dict) else None
    if not isinstance(applications, list):
        raise ConfigError([("applications", "is missing: this is not a Ray Serve configuration")])
    ours = [
        index
        for index, application in enumerate(applications)
        if isinstance(application, dict) and application.get("import_path") == IMPORT_PATH
    ]
    if len(ours) != 1:
        found = f"{len(ours)} of {len(applications)} have `import_path: {IMPORT_PATH}`"
        raise ConfigError([("applications", f"{found}; exactly one must")])
    args = applications[ours[0]].get("args")
    return parse_config({} if args is None else args, path=f"applications[{ours[0]}].args")


def config_schema() -> dict[str, Any]:
    """The JSON schema of everything under ``args:``."""
    schema = FleetConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML as Serve reads it, but a key given twice is an error, not a lost first value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, each key of which is given once."""
        keys: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                keys.add(key)
        return super().construct_mapping(node, deep)
