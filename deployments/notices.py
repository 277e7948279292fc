"""Asks EC2's instance metadata service (version 2) for notices that its node is taken away."""

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from autoscaling.notices import Seen

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
TIMEOUT_S = 2.0
TOKEN_TTL_S = 300
MOST_BYTES = 4096
ACTIONS = frozenset({"terminate", "stop", "hibernate"})
_TOKEN = "/latest/api/token"  # noqa: S105 - a path
_ACTION = "/latest/meta-data/spot/instance-action"
_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class MetadataUnavailable(Exception):
    """The metadata service has not answered, or nothing that makes sense."""


class MetadataService:
    """Speaks to the metadata service of this node.

    Args:
        endpoint: Where it is; the node's environment comes before it.
    """

    def __init__(self, endpoint: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=os.environ.get(ENDPOINT_VARIABLE) or endpoint,
            timeout=TIMEOUT_S,
            # Only this node's own service is believed, directly.
            follow_redirects=False,
            trust_env=False,
        )
        self._token = ""

    async def look(self) -> Seen:
        """What it says now.

        Raises:
            MetadataUnavailable: It has not answered in time, or nothing that makes sense.
        """
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                action = await self._read(_ACTION)
                rebalance = await self._read(_REBALANCE)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise MetadataUnavailable(type(error).__name__) from error
        seen = Seen() if action is None else notice(action)
        if rebalance is None:
            return seen
        _mapping(rebalance)
        return Seen(seen.action, seen.at, rebalance=True)

    async def close(self) -> None:
        """Ends the connection."""
        await self._client.aclose()

    async def _read(self, path: str) -> bytes | None:
        """The document of this path; None if there is none."""
        if not self._token:
            self._token = await self._new_token()
        status, body = await self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
        if status == httpx.codes.UNAUTHORIZED:
            self._token = await self._new_token()
            status, body = await self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
        if status == httpx.codes.NOT_FOUND:
            return None
        if status != httpx.codes.OK:
            raise MetadataUnavailable(f"it answers {status}")
        return body

    async def _new_token(self) -> str:
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)}
        status, body = await self._ask("PUT", _TOKEN, ttl)
        token = body.decode("ascii", "replace")
        if status != httpx.codes.OK or not token.isprintable() or not token.isascii() or not token:
            raise MetadataUnavailable(f"it gives no token but {status}")
        return token

    async def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self._client.stream(method, path, headers=headers) as response:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise MetadataUnavailable(f"it answers more than {MOST_BYTES} bytes")
            return response.status_code, body


def notice(body: bytes) -> Seen:
    """What the document of a spot node's action says.

    Args:
        body: The document.

    Raises:
        MetadataUnavailable: It makes no sense.
    """
    document = _mapping(body)
    action = document.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise MetadataUnavailable("its notice names no action that is known")
    return Seen(action, _time(document.get("time")))


def _mapping(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MetadataUnavailable("its notice is not JSON") from error
    if not isinstance(document, dict):
        raise MetadataUnavailable("its notice is not an object")
    return document


def _time(text: Any) -> float | None:
    """Unix time of what stands in a notice; None where it says nothing."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
