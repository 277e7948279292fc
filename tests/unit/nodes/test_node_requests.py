"""Nodes are asked for when what is needed changes, and again each minute."""

from typing import Any

import pytest

from deployments import node_requests
from deployments.node_requests import MOST, REPEAT_S, RETRY_S, NodeNeed, NodeRequests, bundles_of

GPU = ({"CPU": 8.0, "GPU": 4.0}, {"ray.io/market-type": "spot"}, 2)
SMALL: NodeNeed = ({"CPU": 0.25}, {}, 1)


class Ray:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.away = 1000.0, False
        self.asked: list[dict[str, Any]] = []
        monkeypatch.setattr(node_requests, "request_resources", self.request)
        monkeypatch.setattr("deployments.node_requests.time.monotonic", lambda: self.now)

    def request(self, **asked: Any) -> None:
        if self.away:
            raise RuntimeError("Ray is not initialized yet")
        self.asked.append(asked)


async def test_everything_is_asked_for_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray(monkeypatch)
    assert await NodeRequests().ask([GPU, SMALL])
    spot = {"ray.io/market-type": "spot"}
    assert ray.asked == [
        {
            "bundles": [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 0.25}],
            "bundle_label_selectors": [spot, spot, {}],
        }
    ]


async def test_it_is_repeated_when_it_changes_or_each_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray, requests = Ray(monkeypatch), NodeRequests()
    assert [await requests.ask([GPU]), await requests.ask([GPU])] == [True, False]
    assert await requests.ask([GPU, SMALL])
    ray.now += REPEAT_S - 1
    assert not await requests.ask([GPU, SMALL])
    ray.now += 1
    assert await requests.ask([GPU, SMALL])
    assert await requests.ask([])
    assert ray.asked[-1] == {"bundles": [], "bundle_label_selectors": []}


async def test_ray_that_is_away_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    ray, requests = Ray(monkeypatch), NodeRequests()
    ray.away = True
    assert not await requests.ask([GPU])
    ray.away = False
    assert not await requests.ask([GPU])
    ray.now += RETRY_S
    assert await requests.ask([GPU])


def test_an_absurd_need_is_cut() -> None:
    bundles, selectors = bundles_of([({"CPU": 1.0}, {}, 10**9), GPU, ({"CPU": 1.0}, {}, -3)])
    assert len(bundles) == len(selectors) == MOST
