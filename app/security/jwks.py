"""The identity provider's public keys: read from a file or a URL, and read again in time.

While the provider is away, its last good set goes on being used. However many tokens with unknown
key ids arrive, the provider is asked one question at a time and at most one in 10 seconds.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import structlog

from app.errors import Overloaded, StoreUnavailable
from app.security.public_keys import PublicKey, read_keys

MOST_BYTES = 1 << 20
TIMEOUT_S = 5.0
RETRY_S = 10.0
_FIRST_RETRY_S = 1.0  # while there are no keys at all, tokens are refused: worth asking more often
_MOST_WAITING = 1000
_NEVER = float("-inf")

log = structlog.get_logger(__name__)


class KeySource:
    """Keys of one provider, for one event loop.

    Args:
        location: an `https://` URL, or a file.
        refresh_s: how often to read them again.
        clock: monotonic seconds.
    """

    def __init__(
        self, location: str, refresh_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._location = location
        self._refresh_s = refresh_s
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._content = b""
        self._keys: tuple[PublicKey, ...] = ()
        self._read_at = _NEVER
        self._tried_at = _NEVER
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0
        self.generation = 0
        """Counts up whenever the set has become another one."""

    async def refresh(self) -> None:
        """Sees to it that the keys are not too old; waits only if they have long been.

        Raises:
            StoreUnavailable: no keys could be read so far.
            Overloaded: too many requests wait for the provider already.
        """
        now = self._clock()
        idle = now - self._tried_at
        if not self._keys:
            if idle >= _FIRST_RETRY_S or self._reading is not None:
                await self._read()
            if not self._keys:
                raise StoreUnavailable(
                    "the identity provider's public keys cannot be read now, so no token can be "
                    "checked; try again, or use an API key"
                )
        elif now - self._read_at >= self._refresh_s and idle >= min(RETRY_S, self._refresh_s):
            # Whoever comes while keys have just become old goes on with them. But if nobody has
            # come for long, they may have been withdrawn for long, too.
            if idle >= 2 * self._refresh_s:
                await self._read()
            else:
                self._start()

    async def keys(self, algorithm: str, key_id: str | None) -> list[PublicKey]:
        """The keys that a token may have been signed with; the provider is asked if there is none.

        Args:
            algorithm: the token's `alg`, which is among `ALGORITHMS`.
            key_id: the token's `kid`. Without it the set must have a single fitting key.

        Raises:
            Overloaded: too many requests wait for the provider already.
        """
        found = self._find(algorithm, key_id)
        if not found and key_id is not None:
            if self._reading is None and self._clock() - self._tried_at < RETRY_S:
                return found
            await self._read()
            found = self._find(algorithm, key_id)
        return found

    async def close(self) -> None:
        """Ends a reading that is under way, and the connections."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _find(self, algorithm: str, key_id: str | None) -> list[PublicKey]:
        fitting = [key for key in self._keys if key.fits(algorithm)]
        if key_id is None:
            return fitting if len(fitting) == 1 else []
        return [key for key in fitting if key.id == key_id]

    async def _read(self) -> None:
        if self._waiting >= _MOST_WAITING:
            raise Overloaded(
                f"{_MOST_WAITING} requests wait for the identity provider's keys already; try again"
            )
        self._waiting += 1
        try:
            # A client that leaves does not end what others wait for.
            await asyncio.shield(self._start())
        finally:
            self._waiting -= 1

    def _start(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._tried_at = self._clock()
            self._reading = asyncio.create_task(self._replace())
            self._reading.add_done_callback(self._done)
        return self._reading

    def _done(self, task: asyncio.Task[None]) -> None:
        self._reading = None

    async def _replace(self) -> None:
        started = self._clock()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                content = await self._fetch()
            if content != self._content:
                self._keys = read_keys(content)
                self._content = content
                self.generation += 1
            self._read_at = started
        except (OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning(
                "jwks_unreadable",
                location=self._location,
                reason=str(error) or type(error).__name__,
                usable_keys=len(self._keys),
            )

    async def _fetch(self) -> bytes:
        if "://" not in self._location:
            return await asyncio.to_thread(_read_file, Path(self._location))
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)
        # Unpacked, a small answer could become a very large one.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("GET", self._location, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"the provider answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError("the provider's answer is compressed, although none was asked for")
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                _check_size(len(content))
        return bytes(content)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    _check_size(len(content))
    return content


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ValueError(f"the set of keys is larger than {MOST_BYTES} bytes")
