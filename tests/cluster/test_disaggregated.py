"""A disaggregated pool on a real cluster, and the deaths of either side."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from tests.cluster.fleet import Fleet, until
from tests.cluster.processes import descendants
from tests.cluster.settings import MODEL, ROOT, free_port, prompt_of, short_folder
from tests.cluster.streams import Streams

PREFILL = "public--prefill--on-demand"
DECODE = "public--decode--on-demand"
WHOLE_AGAIN_S = 180.0
LONG = prompt_of(1500)


def configuration() -> dict[str, Any]:
    """The example, on a free port, with a threshold that says which prompts are handed over."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "examples/disaggregated.yaml").read_text())
    config["http_options"]["port"] = free_port()
    [pool] = config["applications"][0]["args"]["pools"]
    pool["disaggregated"]["handoff_from"] = 256
    return config


@pytest.fixture(scope="module")
def halves(orphans: None) -> Iterator[Fleet]:
    """One prefill replica of two stages and one decode replica of two ranks."""
    with short_folder() as folder, Fleet(configuration(), folder, orderly=False) as fleet:
        yield fleet


def complete(fleet: Fleet, prompt: str, **fields: Any) -> dict[str, Any]:
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 24, "temperature": 0} | fields
    answer = fleet.http.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def where_it_stands(fleet: Fleet, prompt: str, **fields: Any) -> str:
    """The answer without a hand-off, which whoever asks for the prompt's logprobs gets."""
    text: str = complete(fleet, prompt, prompt_logprobs=0, **fields)["choices"][0]["text"]
    return text


def text_of(fleet: Fleet, prompt: str, **fields: Any) -> str:
    text: str = complete(fleet, prompt, **fields)["choices"][0]["text"]
    return text


def handoffs(fleet: Fleet) -> dict[str, float]:
    record: dict[str, float] = fleet.status()["handoffs"]["public"]
    return record


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A replica that stands still, with all its ranks: alive, and not to be reached."""
    family = [pid, *descendants(pid)]
    for each in family:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


def test_long_prompts_are_handed_over(halves: Fleet) -> None:
    expected = where_it_stands(halves, LONG)
    before, count = halves.engine_status(DECODE), handoffs(halves)["count"]
    document = complete(halves, LONG + " And then?")
    assert text_of(halves, LONG) == expected
    after = halves.engine_status(DECODE)
    # Nothing of a prompt that was handed over is computed again.
    assert after["prompt_tokens_computed"] == before["prompt_tokens_computed"]
    moved = after["prompt_tokens_transferred"] - before["prompt_tokens_transferred"]
    cached = after["prompt_tokens_cached"] - before["prompt_tokens_cached"]
    assert moved + cached >= document["usage"]["prompt_tokens"]
    assert handoffs(halves)["count"] == count + 2


def test_short_prompts_are_decoded_where_they_stand(halves: Fleet) -> None:
    count = handoffs(halves)["count"]
    assert halves.post(halves.chat()).status_code == 200
    assert handoffs(halves)["count"] == count


def test_prefill_dies_under_load(halves: Fleet) -> None:
    """Before, during and after the transfers of a burst of long prompts."""
    prompts = [f"Part {number}. {LONG}" for number in range(8)]
    expected = [where_it_stands(halves, prompt) for prompt in prompts]
    [replica] = halves.replicas(PREFILL)
    body = {"model": MODEL, "max_tokens": 24, "temperature": 0}
    with ExitStack() as stack:
        streams = [
            stack.enter_context(Streams(halves, 1, body | {"prompt": prompt}, path="completions"))
            for prompt in prompts
        ]
        time.sleep(0.3)
        os.kill(replica["pid"], signal.SIGKILL)
        until(lambda: not halves.whole(), 20, every_s=0.05)
        for each in streams:
            each.join(120)
    assert [stream.all[0].text for stream in streams] == expected
    until(halves.whole, WHOLE_AGAIN_S)
    count = handoffs(halves)["count"]
    assert text_of(halves, prompts[0]) == expected[0]
    assert handoffs(halves)["count"] == count + 1
    halves.settle()


def test_prefill_cannot_be_reached(halves: Fleet) -> None:
    """It holds prompts that it has read, and answers nobody: decode waits, and gives up."""
    prompt = f"Once more: {LONG}"
    expected = where_it_stands(halves, prompt)
    [replica] = halves.replicas(PREFILL)
    body = {"model": MODEL, "max_tokens": 24, "temperature": 0, "prompt": prompt}
    with Streams(halves, 1, body, path="completions") as streams:
        time.sleep(0.2)
        with stopped(replica["pid"]):
            streams.join(120)
    assert streams.all[0].text == expected
    until(halves.whole, WHOLE_AGAIN_S)
    halves.settle(60)


def test_decode_dies_under_load(halves: Fleet) -> None:
    """Streams go on where they were, once there is another replica."""
    body = halves.chat("Tell me of the sea.", max_tokens=400, ignore_eos=True)
    calm = halves.post(body).json()["choices"][0]["message"]["content"]
    [replica] = halves.replicas(DECODE)
    with Streams(halves, 6, body) as streams:
        until(lambda: all(stream.tokens > 20 for stream in streams.all), 60, every_s=0.02)
        os.kill(replica["pid"], signal.SIGKILL)
        until(lambda: not halves.whole(), 20, every_s=0.05)
        streams.join(200)
    assert all(stream.whole for stream in streams.all), streams.all
    assert {stream.text for stream in streams.all} == {calm}
    until(halves.whole, WHOLE_AGAIN_S)
    halves.settle()
