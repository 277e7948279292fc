"""How vLLM is told to load a verified model, and only that.

Apart from the loader itself, which imports much of vLLM, and only ranks need.
"""

import contextlib
import json
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import WeightsRefused

if TYPE_CHECKING:
    from vllm.config import VllmConfig

    from app.weights.prepare import Prepared

LOAD_FORMAT = "tidegate"
"""vLLM's name of the loader."""
FOLDER, WEIGHTS, MANIFEST, REFUSAL = "folder", "weights", "manifest", "refusal"
"""Keys of what the loader is told."""
MOST_TEXT = 4096


def register() -> None:
    """Makes the loader known to vLLM in this process; it may be called any number of times."""
    from vllm.model_executor import model_loader

    if LOAD_FORMAT not in model_loader._LOAD_FORMAT_TO_MODEL_LOADER:  # noqa: SLF001
        from deployments.verifying_loader import VerifyingLoader

        model_loader.register_model_loader(LOAD_FORMAT)(VerifyingLoader)


def loader_config(prepared: "Prepared") -> dict[str, Any]:
    """What the loader has to be told, as vLLM's `model_loader_extra_config`."""
    return {
        FOLDER: str(prepared.folder),
        WEIGHTS: str(prepared.weights),
        MANIFEST: prepared.manifest.packed(),
        REFUSAL: str(Path(tempfile.gettempdir()) / f"tidegate-refusal-{secrets.token_hex(16)}"),
    }


def refusal(config: "VllmConfig") -> WeightsRefused | None:
    """Why an engine's ranks have refused its weights; None if they have not, or are elsewhere.

    Where ranks are processes of their own, vLLM says no more of the failure of one than that there
    was one.

    Args:
        config: the configuration of the engine whose start has failed.
    """
    load = config.load_config
    if load.load_format != LOAD_FORMAT:
        return None
    path = Path(load.model_loader_extra_config[REFUSAL])
    try:
        message, reason = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    finally:
        path.unlink(missing_ok=True)
    return WeightsRefused(str(message)[:MOST_TEXT], str(reason)[:MOST_TEXT])


def leave_refusal(path: Path, error: WeightsRefused) -> None:
    """Leaves the reason for the engine that this rank is of; the first one counts.

    Args:
        path: where it is looked for, as the loader was told.
        error: the reason.
    """
    text = json.dumps([error.message, error.reason])
    with contextlib.suppress(OSError), path.open("x") as file:
        path.chmod(0o600)
        file.write(text)
