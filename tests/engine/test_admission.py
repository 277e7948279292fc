"""Keys, limits, budgets and accounts, over HTTP and by the Python handle, on real engines."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.handle import Caller
from app.errors import InvalidKey, MissingKey, TidegateError
from tests.engine.keyed import Keyed, keyed
from tests.engine.stack import MODEL, Stack

CHAT = "/v1/chat/completions"
PRICES = {"default": {"prompt": 1_000_000, "output": 2_000_000}}  # 1 and 2 micro-dollars a token


@pytest.fixture(scope="module")
def fleet(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    with keyed(stack, folder, {"prices": PRICES}, gateways=2) as fleet:
        yield fleet


def chat(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": MODEL, "messages": [message], "max_tokens": 8, "temperature": 0} | fields


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


def until(condition: Callable[[], bool], timeout_s: float = 10) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < timeout_s
        time.sleep(0.02)
    return time.monotonic() - begun


def used(fleet: Keyed, tenant: str) -> dict[str, int]:
    with fleet.admin as admin:
        rows = admin.get("/admin/v1/usage", params={"tenant": tenant}).json()["rows"]
    assert len(rows) <= 1
    return dict(rows[0]) if rows else {"requests": 0}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/openapi.json"),
        ("POST", CHAT),
        ("POST", "/v1/responses"),
        ("GET", "/admin/v1/keys"),
        ("GET", "/nowhere"),
        ("POST", "/livez/../v1/chat/completions"),
    ],
)
def test_everything_but_health_needs_a_key(fleet: Keyed, method: str, path: str) -> None:
    with fleet.client(None) as nobody:
        for open_path in ("/livez", "/readyz"):
            assert nobody.get(open_path).status_code == 200
        assert error_of(nobody.request(method, path), 401)["code"] == "missing_api_key"
        wrong = {"authorization": f"Bearer {fleet.admin_key[:-1]}x"}
        answer = nobody.request(method, path, headers=wrong)
        assert error_of(answer, 401)["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_key_stops_working_everywhere_within_a_second(fleet: Keyed) -> None:
    key = fleet.key("revoked")
    with fleet.admin as admin:
        admin.delete(f"/admin/v1/keys/{key.split('-')[1]}").raise_for_status()
    begun = time.monotonic()
    for gateway in (0, 1):
        with fleet.client(key, gateway) as client:
            until(lambda client=client: client.get("/v1/models").status_code == 401, 1)  # type: ignore[misc]
            assert error_of(client.post(CHAT, json=chat()), 401)["code"] == "revoked_api_key"
    assert time.monotonic() - begun < 1


def test_rotation_overlaps(fleet: Keyed) -> None:
    old = fleet.key("rotating")
    with fleet.admin as admin:
        path = f"/admin/v1/keys/{old.split('-')[1]}/rotate"
        new = admin.post(path, json={"overlap_s": 1}).json()["key"]
    fleet.until_status(new, 200)
    with fleet.client(old) as client:
        assert client.get("/v1/models").status_code == 200
        until(lambda: client.get("/v1/models").status_code == 401, 3)
        assert error_of(client.get("/v1/models"), 401)["code"] == "expired_api_key"


def test_a_key_is_for_its_zone_models_tiers_and_roles(fleet: Keyed) -> None:
    with fleet.client(fleet.key("narrow", zone="public")) as client:
        answer = client.post(CHAT, json=chat(), headers={"x-tidegate-zone": "private"})
        assert error_of(answer, 403)["code"] == "zone_forbidden"
        answer = client.post(CHAT, json=chat(), headers={"x-tidegate-priority": "critical"})
        assert error_of(answer, 403)["code"] == "tier_forbidden"
        answer = client.post(CHAT, json=chat(), headers={"x-tidegate-priority": "urgent"})
        assert error_of(answer, 400)["param"] == "x-tidegate-priority"
        assert error_of(client.get("/admin/v1/keys"), 403)["code"] == "role_forbidden"


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_used_is_in_the_store(fleet: Keyed, stream: bool) -> None:
    tenant = f"counted-{stream}".lower()
    with fleet.client(fleet.key(tenant)) as client:
        body = chat(n=2, temperature=0.5, stream=stream) | (
            {"stream_options": {"include_usage": True}} if stream else {}
        )
        answer = client.post(CHAT, json=body)
        if stream:
            assert answer.text.endswith("data: [DONE]\n\n")
        else:
            usage = answer.json()["usage"]
            assert usage["completion_tokens"] <= 16
    until(lambda: used(fleet, tenant)["requests"] == 1)
    row = used(fleet, tenant)
    assert row["output_tokens"] > 2
    assert row["micros"] == row["prompt_tokens"] + 2 * row["output_tokens"]
    if not stream:
        assert row["prompt_tokens"] == usage["prompt_tokens"]
        assert row["output_tokens"] == usage["completion_tokens"]


def test_a_client_that_leaves_pays_for_what_was_generated(stack: Stack, fleet: Keyed) -> None:
    body = chat(max_tokens=1_500, ignore_eos=True, stream=True)
    with fleet.client(fleet.key("leaving")) as client, client.stream("POST", CHAT, json=body) as s:
        lines = s.iter_lines()
        for _ in range(12):
            next(lines)
    stack.settle()
    until(lambda: used(fleet, "leaving")["requests"] == 1)
    row = used(fleet, "leaving")
    assert 1 <= row["output_tokens"] < 1_500
    assert row["prompt_tokens"] > 0


def test_a_limit_says_which_it_is(fleet: Keyed) -> None:
    key = fleet.key("limited")
    limit = {"tenant": "limited", "user": "ada", "rule": "user_tokens_per_minute", "value": 60}
    with fleet.admin as admin:
        admin.put("/admin/v1/limits", json=limit).raise_for_status()
    time.sleep(0.6)
    with fleet.client(key, 0) as one, fleet.client(key, 1) as other:
        answers = [client.post(CHAT, json=chat(max_tokens=30)) for client in (one, other) * 3]
        accepted = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(accepted) + len(refused) == 6
        # 60 a minute and half as much again at once, whichever gateway is asked.
        assert 1 <= len(accepted) <= 4
        answer = refused[-1]
        error = error_of(answer, 429)
        assert (error["code"], error["rule"]) == ("rate_limit_exceeded", "user_tokens_per_minute")
        assert "ada" in error["message"]
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-ratelimit-limit-tokens"] == str(error["limit"])
        # A gateway remembers a refusal for a second at most.
        too_large = chat(max_tokens=500)
        until(lambda: "request_too_large" in one.post(CHAT, json=too_large).text, 3)


def test_one_large_request_at_a_time(stack: Stack, fleet: Keyed) -> None:
    key = fleet.key("large")
    body = chat("word " * 2_500, max_tokens=2_500, ignore_eos=True, stream=True)
    with fleet.client(key, 0) as one, fleet.client(key, 1) as other:
        with one.stream("POST", CHAT, json=body) as running:
            assert running.headers["x-tidegate-size-class"] == "large"
            next(running.iter_lines())
            error = error_of(other.post(CHAT, json=body), 429)
            assert error["code"] == "too_many_large_requests"
            assert other.post(CHAT, json=chat()).status_code == 200
        stack.settle()

        def admitted() -> bool:
            with other.stream("POST", CHAT, json=body) as again:
                return again.status_code == 200

        until(admitted)
    stack.settle()


@pytest.mark.parametrize(("policy", "status"), [("refuse", 429), ("degrade", 200), ("allow", 200)])
def test_a_budget_that_is_used_up(fleet: Keyed, policy: str, status: int) -> None:
    tenant = f"budget-{policy}"
    key = fleet.key(tenant)
    budget = {"tenant": tenant, "period": "day", "micros": 60, "alert": 0.5, "policy": policy}
    with fleet.admin as admin:
        admin.put("/admin/v1/budgets", json=budget).raise_for_status()
    time.sleep(0.6)
    with fleet.client(key) as client:
        answers = [client.post(CHAT, json=chat(max_tokens=1)) for _ in range(8)]
        assert answers[0].status_code == 200
        assert answers[-1].status_code == status, answers[-1].text
        if status == 429:
            error = error_of(answers[-1], 429)
            assert (error["code"], error["rule"]) == ("insufficient_quota", "tenant_budget_day")
    with fleet.admin as admin:
        until(
            lambda: (
                "budget_alert"
                in admin.get("/admin/v1/audit", params={"tenant": tenant, "limit": 100}).text
            )
        )
        if policy == "degrade":
            rows = admin.get("/admin/v1/usage", params={"tenant": tenant, "by": "tier"}).json()
            assert "batch" in {row["tier"] for row in rows["rows"]}


def test_the_python_handle_has_the_same_admission(stack: Stack, fleet: Keyed) -> None:
    service = fleet.gateways[0].service
    key = fleet.key("handle")
    answer = stack.run(service.whole("chat", chat(), Caller(key, zone="private")))
    assert answer["choices"][0]["message"]["content"]
    until(lambda: used(fleet, "handle")["requests"] == 1)
    errors: list[tuple[Caller, type[TidegateError]]] = [
        (Caller(), MissingKey),
        (Caller(key + "x"), InvalidKey),
    ]
    for caller, kind in errors:
        with pytest.raises(kind):
            stack.run(service.whole("chat", chat(), caller))
    assert key not in repr(Caller(key))


def test_headers_of_clients_set_nothing(fleet: Keyed) -> None:
    forged = {
        "x-tenant": "other",
        "x-tidegate-tenant": "other",
        "x-tidegate-salt": "s",
        "x-vllm-priority": "-1",
        "host": "admin.internal",
        "x-forwarded-host": "localhost",
    }
    with fleet.client(fleet.key("forger")) as client:
        body = chat(cache_salt="s", priority=-5, user="somebody")
        assert client.post(CHAT, json=body, headers=forged).status_code == 200
        doubled = [("x-tidegate-zone", "public"), ("x-tidegate-zone", "private")]
        assert error_of(client.post(CHAT, json=body, headers=doubled), 400)["param"] == (
            "x-tidegate-zone"
        )
    until(lambda: used(fleet, "forger")["requests"] == 1)
    with fleet.admin as admin:
        assert error_of(admin.get("/admin/v1/usage?tenant=other"), 404)["param"] == "tenant"


@pytest.mark.parametrize("tokens", [-1, 0, 10**9, 10**30])
def test_strange_numbers_of_tokens_reserve_nothing(fleet: Keyed, tokens: int) -> None:
    with fleet.client(fleet.key("strange")) as client:
        assert client.post(CHAT, json=chat(max_tokens=tokens)).status_code == 400
        assert client.post(CHAT, json=chat()).status_code == 200


def test_decisions_are_audited_without_their_text(fleet: Keyed) -> None:
    key = fleet.key("audited")
    with fleet.client(key) as client:
        client.post(CHAT, json=chat("My words are quicksilver"))
        client.post(CHAT, json=chat(), headers={"x-tidegate-priority": "critical"})
    with fleet.admin as admin:

        def entries() -> list[dict[str, Any]]:
            params = {"tenant": "audited", "limit": "100"}
            found: list[dict[str, Any]] = admin.get("/admin/v1/audit", params=params).json()[
                "entries"
            ]
            return found

        until(lambda: {e["kind"] for e in entries()} >= {"admitted", "completed", "refused"})
        text = str(entries())
        assert "quicksilver" not in text
        assert key.split("-")[2] not in text
        assert "'tenant': 'audited'" in text
        verified = admin.get("/admin/v1/audit/verify").json()
        assert verified["whole"], verified
        lines = admin.get("/admin/v1/audit/export").text.splitlines()
        assert len(lines) > 10


def test_while_the_ledger_is_away_the_zone_decides(stack: Stack, tmp_path: Path) -> None:
    zones = {
        "public": {"isolation": "medium", "when_ledger_away": "serve"},
        "private": {"isolation": "high"},
    }
    changes = {"zones": zones, "ledger": {"timeout_s": 0.5}}
    with keyed(stack, tmp_path, changes) as fleet:
        key = fleet.key("away")
        fleet.stop_ledger()
        with fleet.client(key) as client:
            # What was leased may still be used for a moment.
            def refused() -> bool:
                answer = client.post(CHAT, json=chat(), headers={"x-tidegate-zone": "private"})
                return answer.status_code == 503 and answer.json()["error"]["code"] == (
                    "ledger_unavailable"
                )

            until(refused)
            served = [client.post(CHAT, json=chat()).status_code for _ in range(3)]
            assert served == [200] * 3
            with fleet.admin as admin:
                assert error_of(admin.get("/admin/v1/keys"), 503)["code"] == "ledger_unavailable"
            fleet.start_ledger()
            until(lambda: client.get("/readyz").status_code == 200)
        until(lambda: used(fleet, "away")["requests"] >= 3)
