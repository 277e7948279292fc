"""A request's zone, and with it the only pools that may serve it."""

import pytest

from tests.cluster.fleet import Fleet
from tests.cluster.settings import prompt_of


@pytest.mark.parametrize("tokens", [100, 1_000, 4_000])
def test_confidential_is_served_by_its_own_pool_only(fleet: Fleet, tokens: int) -> None:
    answer = fleet.post(fleet.chat(prompt_of(tokens), max_tokens=4), x_tidegate_zone="confidential")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tidegate-pool"] == "confidential"
    assert answer.headers["x-tidegate-zone"] == "confidential"


def test_unknown_zone_is_an_error(fleet: Fleet) -> None:
    answer = fleet.post(fleet.chat(), x_tidegate_zone="secret")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unknown_zone"


def test_marker_in_the_text_raises_the_zone(fleet: Fleet) -> None:
    answer = fleet.post(fleet.chat("Strictly confidential: the gate's code is 1234.", max_tokens=4))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tidegate-zone"] == "confidential"
    assert answer.headers["x-tidegate-pool"] == "confidential"


def test_marker_in_an_earlier_message_raises_the_zone_of_a_stream(fleet: Fleet) -> None:
    body = fleet.chat(max_tokens=4, stream=True)
    body["messages"].insert(0, {"role": "system", "content": "STRICTLY   CONFIDENTIAL"})
    with fleet.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["x-tidegate-pool"] == "confidential"
        assert "data: [DONE]" in answer.read().decode()


def test_no_engine_was_handed_a_request_of_another_zone(fleet: Fleet) -> None:
    assert {name: fleet.engine_status(name)["zone_violations"] for name in fleet.engines()} == {
        "public-small--on-demand": 0,
        "public-small--spot": 0,
        "public-large--on-demand": 0,
        "confidential--on-demand": 0,
    }
