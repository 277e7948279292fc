"""Guards on the way in and out, with real answers."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.engine.keyed import Keyed, keyed
from tests.engine.stack import MODEL, Stack

CHAT = "/v1/chat/completions"
MAIL = "ada@lovelace.org"
GUARDS = {
    "zones": {
        "public": {"prompt": {"personal_data": "redact", "exhaustion": "refuse"}},
        "private": {"answer": {"personal_data": "redact"}},
    },
    "tenants": {
        "strict": {
            "prompt": {"personal_data": "refuse"},
            "answer": {"personal_data": "refuse"},
        }
    },
}


@pytest.fixture(scope="module")
def fleet(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed(stack, tmp_path_factory.mktemp("guards"), {"guards": GUARDS}) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def client(fleet: Keyed) -> Iterator[httpx.Client]:
    with fleet.client(fleet.key("acme")) as client:
        yield client


def chat(text: str, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": MODEL, "messages": [message], "max_tokens": 64, "temperature": 0} | fields


def saying(text: str, **fields: Any) -> dict[str, Any]:
    """A request that can only be answered with this text."""
    return chat("Say it.", structured_outputs={"choice": [text]}) | fields


def streamed(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_what_is_redacted_reaches_no_engine(stack: Stack, client: httpx.Client) -> None:
    hosts = [replica.host for replica in stack.replicas.values()]
    for host in hosts:
        host.requests.clear()
        host.recording = True
    plain = client.post(CHAT, json=chat("Write to [EMAIL] today."))
    redacted = client.post(CHAT, json=chat(f"Write to {MAIL} today."))
    for host in hosts:
        host.recording = False
    first, second = (tuple(r.prompt_token_ids or ()) for host in hosts for r in host.requests)
    assert first == second
    assert redacted.json()["choices"] == plain.json()["choices"]
    assert redacted.json()["usage"] == plain.json()["usage"]


def test_token_ids_cannot_be_redacted(client: httpx.Client, stack: Stack) -> None:
    engine = stack.gateways[0].service._engines[MODEL]
    ids = engine.renderer.get_tokenizer().encode(f"Write to {MAIL} today.")
    answer = client.post("/v1/completions", json={"model": MODEL, "prompt": ids})
    assert answer.status_code == 403
    assert "as text" in answer.json()["error"]["message"]


def test_a_tenants_policy_can_only_be_stricter(fleet: Keyed) -> None:
    with fleet.client(fleet.key("strict")) as client:
        answer = client.post(CHAT, json=chat(f"Write to {MAIL} today."))
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "content_refused"
        assert MAIL not in answer.text
        assert client.post(CHAT, json=chat("Write to nobody.")).status_code == 200


def test_an_answer_is_redacted_whole_and_streamed(client: httpx.Client) -> None:
    private = {"x-tidegate-zone": "private"}
    body = saying(f"Ask {MAIL} for it, she knows.")
    expected = "Ask [EMAIL] for it, she knows."
    whole = client.post(CHAT, json=body, headers=private).json()
    assert whole["choices"][0]["message"]["content"] == expected
    events = streamed(client.post(CHAT, json=body | {"stream": True}, headers=private))
    deltas = [choice["delta"].get("content") or "" for e in events for choice in e["choices"]]
    assert "".join(deltas) == expected
    assert len([delta for delta in deltas if delta]) > 3


def test_a_refused_answer_ends_before_what_is_refused(fleet: Keyed) -> None:
    with fleet.client(fleet.key("strict")) as client:
        body = saying(f"Ask {MAIL} for it, she knows.")
        answer = client.post(CHAT, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "content_refused")
        events = streamed(client.post(CHAT, json=body | {"stream": True}))
        assert events[-1]["error"]["code"] == "content_refused"
        assert MAIL[:5] not in str(events)


@pytest.mark.parametrize("field", [{"logprobs": True}, {"return_token_ids": True}])
def test_a_filter_cannot_be_read_past(client: httpx.Client, field: dict[str, Any]) -> None:
    body = saying(f"Ask {MAIL}.", **field)
    answer = client.post(CHAT, json=body, headers={"x-tidegate-zone": "private"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(field))


def test_nor_by_a_completions_logprobs(client: httpx.Client) -> None:
    body = {"model": MODEL, "prompt": "Say it.", "logprobs": 0}
    answer = client.post("/v1/completions", json=body, headers={"x-tidegate-zone": "private"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logprobs")


def test_personal_data_raises_the_zone(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    guards = {"guards": {"personal_data_zone": "private"}}
    with keyed(stack, tmp_path_factory.mktemp("raised"), guards) as fleet:
        with fleet.client(fleet.key("acme")) as client:
            answer = client.post(CHAT, json=chat(f"Write to {MAIL} today."))
            assert answer.headers["x-tidegate-zone"] == "private"
        with fleet.client(fleet.key("low", zone="public")) as client:
            answer = client.post(CHAT, json=chat(f"Write to {MAIL} today."))
            assert answer.json()["error"]["code"] == "zone_forbidden"


def test_findings_are_audited_as_numbers(fleet: Keyed, client: httpx.Client) -> None:
    client.post(CHAT, json=chat(f"Write to {MAIL} and {MAIL} today."))
    with fleet.admin as admin:
        for _ in range(100):
            text = admin.get("/admin/v1/audit", params={"tenant": "acme", "limit": 100}).text
            if '\\"email\\":2' in text:
                break
        assert '\\"email\\":2' in text
        assert MAIL not in text
