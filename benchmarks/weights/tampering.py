"""Many ways to tamper with a signed model, before it is checked and between check and load.

::

    python -m benchmarks.weights.tampering models/demo --count 1000 --out tampering.json

A copy of the model, signed with a key of its own, is tampered with and then taken all the way that
a replica takes it: prepared (signature, names, types, small files, headers), and its weights
streamed as the loader streams them into an engine. Mutations that change tensors alone are made
after the model has been prepared every second time. Nothing may be accepted.
"""

import datetime as dt
import json
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from app.config.fleet import ModelConfig
from app.config.weights import TrustedKey, WeightsConfig
from app.errors import WeightsRefused
from app.weights.key_files import public_pem
from app.weights.manifest import SIGNATURE_FILE
from app.weights.prepare import prepare
from app.weights.signing import sign_model
from benchmarks.weights.mutations import KINDS, Mutation, mutations
from deployments.weight_stream import WeightStream

NAME = "tampered"
ACCEPTED = "accepted"
UNTOUCHED = 20


def load(folder: Path, config: WeightsConfig, mutation: Mutation | None, *, between: bool) -> str:
    """Take a model all the way, tampered with at one of two moments.

    Returns:
        The reason for which it is refused, or `accepted`.
    """
    if mutation is not None and not between:
        mutation.apply(folder)
    try:
        model = ModelConfig(name=NAME, source=str(folder), max_model_len=1024)
        prepared = prepare(model, config)
        if mutation is not None and between:
            mutation.apply(folder)
        manifest = prepared.manifest
        digests = {name: manifest.files[name] for name in manifest.weights}
        stream = WeightStream(prepared.weights, digests, manifest.sizes, prepared.folder)
        try:
            for _ in stream:
                pass
            stream.check()
        finally:
            stream.close()
            prepared.close()
    except WeightsRefused as error:
        return error.reason
    return ACCEPTED


def main(
    model: Annotated[Path, typer.Argument(help="A folder with a model; it stays as it is.")],
    count: Annotated[int, typer.Option(help="Mutations.")] = 1000,
    seed: Annotated[int, typer.Option(help="Where the mutations come from.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Where the figures go, as JSON.")] = None,
) -> None:
    """Tamper with a signed model, and count what is accepted."""
    rng = random.Random(seed)
    key = ec.generate_private_key(ec.SECP256R1())
    found: dict[str, Counter[str]] = defaultdict(Counter)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        signed, work = Path(place) / "signed", Path(place) / "work" / "model"
        shutil.copytree(model, signed, ignore=shutil.ignore_patterns(SIGNATURE_FILE))
        sign_model(signed, NAME, 1, key)
        config = WeightsConfig(
            keys=(TrustedKey(id="benchmark", public_key=public_pem(key.public_key()).decode()),),
            cache_dir=f"{place}/cache",
        )
        untouched = sum(
            load(signed, config, None, between=False) == ACCEPTED for _ in range(UNTOUCHED)
        )
        for number, mutation in enumerate(islice(mutations(signed, rng), count)):
            shutil.copytree(signed, work)
            # Whole rounds of all kinds take turns, so that every kind is tried at both moments.
            between = mutation.weights_only and number // len(KINDS) % 2 == 1
            moment = "between check and load" if between else "before the check"
            result = load(work, config, mutation, between=between)
            found[f"{mutation.name}, {moment}"][result] += 1
            shutil.rmtree(work.parent)
    accepted = sum(results[ACCEPTED] for results in found.values())
    between_count = sum(
        results.total() for name, results in found.items() if name.endswith("check and load")
    )
    for name, results in sorted(found.items()):
        shown = ", ".join(f"{reason} {times}" for reason, times in results.most_common())
        print(f"{name}: {shown}")
    print(
        f"{count} mutations, {between_count} of them between check and load: {accepted} accepted; "
        f"{untouched} of {UNTOUCHED} untouched ones accepted; {time.perf_counter() - begun:.0f} s"
    )
    if out is not None:
        document = {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "model": model.name,
            "mutations": count,
            "between_check_and_load": between_count,
            "accepted": accepted,
            "untouched": UNTOUCHED,
            "untouched_accepted": untouched,
            "seed": seed,
            "results": {name: dict(results) for name, results in sorted(found.items())},
        }
        out.write_text(json.dumps(document, indent=2) + "\n")
    raise typer.Exit(accepted != 0 or untouched != UNTOUCHED)


if __name__ == "__main__":
    typer.run(main)
