"""The ledger of a running service is killed: nothing that was used is lost, and it comes back."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.cluster.fleet import Fleet, until

LEDGER = "ledger--0"
REQUESTS = 60


def key_of(fleet: Fleet, tenant: str) -> str:
    body = {"tenant": tenant, "user": "ada", "zone": "confidential"}
    answer = fleet.http.post("/admin/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["key"]
    return key


def usage(fleet: Fleet, tenant: str) -> dict[str, Any]:
    answer = fleet.http.get("/admin/v1/usage", params={"tenant": tenant})
    rows = answer.json().get("rows") or [{"requests": 0, "output_tokens": 0}]
    return dict(rows[0])


def test_killed_ledger_is_replaced_and_nothing_used_is_lost(fleet: Fleet) -> None:
    key = key_of(fleet, "survivor")
    bound = {"authorization": f"Bearer {key_of(fleet, 'bound')}"}
    limit = {"tenant": "bound", "rule": "user_tokens_per_minute", "value": 100}
    fleet.http.put("/admin/v1/limits", json=limit).raise_for_status()
    [before] = fleet.replicas(LEDGER)
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=fleet.url, headers=headers, timeout=120) as client:

        def ask(number: int) -> httpx.Response:
            if number == REQUESTS // 3:
                os.kill(before["pid"], signal.SIGKILL)
            return client.post("/v1/chat/completions", json=fleet.chat(max_tokens=4))

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(ask, range(REQUESTS)))
        # In `public` requests are served while the ledger is away.
        assert {answer.status_code for answer in answers} == {200}
        tokens = sum(answer.json()["usage"]["completion_tokens"] for answer in answers)
    until(
        lambda: (
            [r for r in fleet.replicas(LEDGER) if r["pid"] != before["pid"]] != [] and fleet.whole()
        ),
        90,
    )
    until(lambda: usage(fleet, "survivor")["requests"] >= REQUESTS, 30)
    counted = usage(fleet, "survivor")
    assert (counted["requests"], counted["output_tokens"]) == (REQUESTS, tokens)
    assert fleet.http.get("/admin/v1/audit/verify").json()["whole"]
    # A limit that was set before binds whom it was set for. His window holds 150 tokens.
    with httpx.Client(base_url=fleet.url, headers=bound, timeout=120) as client:
        body = fleet.chat(max_tokens=24)
        answers = [client.post("/v1/chat/completions", json=body) for _ in range(12)]
    assert answers[0].status_code == 200, answers[0].text
    assert answers[-1].status_code == 429, answers[-1].text
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
