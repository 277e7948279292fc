"""What an engine keeps apart, by its zone's isolation level.

Owns the levels' rules, the salts of the prefix cache, whose turn it is where tenants take turns,
how much of the KV cache may be promised, and the check of every batch. The engine's scheduler asks
here; a batch that breaks a rule raises, and the engine stops.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from app.admission.tier import Tier
from app.errors import IsolationViolated

MAX_BATCHMATES = 64
"""Tenants that are remembered of those that shared a batch with a request."""


@dataclass(frozen=True, slots=True)
class IsolationRules:
    """What one level means in an engine."""

    salt_by_user: bool
    """Whether users of one tenant are kept from each other's prefix cache, too."""
    one_tenant: bool
    """Whether the engine serves one tenant at a time, and is erased in between."""
    prefix_cache: bool
    """Whether there may be a prefix cache."""
    headroom: float
    """How many times the KV tokens that are expected must fit before a request starts."""


RULES: dict[str, IsolationRules] = {
    "medium": IsolationRules(False, False, True, 1.1),
    "high": IsolationRules(True, False, True, 1.25),
    "maximum": IsolationRules(True, True, False, 1.5),
}
"""Rules by the level's name in the configuration."""


@dataclass(slots=True, eq=False)
class Claim:
    """Who a request in an engine is for, as the gateway said with it.

    Attributes:
        zone: the zone it was admitted to.
        tenant: who pays.
        user: who asks.
        tier: its band in the fair queue.
        weight: the tenant's share.
        expected_tokens: output that is expected of it here.
        salt: what keeps its prefix cache apart; the engine's own.
        resumed: output that it came with, which another engine has generated.
        generated: output so far, without that.
        set_aside: how often it has made room for another.
        waited_s: seconds that it has waited for its KV cache to come over; None: it has not to.
        batchmates: tenants of all batches it was in, its own included.
    """

    zone: str
    tenant: str
    user: str
    tier: Tier
    weight: float
    expected_tokens: int
    salt: str = ""
    resumed: int = 0
    generated: int = 0
    set_aside: int = 0
    waited_s: float | None = None
    batchmates: set[str] = field(default_factory=set)
    _unreported: list[str] = field(default_factory=list)
    _seen: frozenset[str] = frozenset()

    def share(self, tenants: frozenset[str]) -> None:
        """Notes the tenants of a batch that it is in."""
        if self._seen is tenants:
            return
        self._seen = tenants
        for tenant in sorted(tenants - self.batchmates):
            if len(self.batchmates) < MAX_BATCHMATES:
                self.batchmates.add(tenant)
                self._unreported.append(tenant)

    def unreported(self) -> list[str]:
        """Batchmates that have not been asked for yet."""
        if not self._unreported:
            return self._unreported
        news, self._unreported = self._unreported, []
        return news


class Salts:
    """Prefix-cache salts of one engine, which nobody outside can know.

    Args:
        secret: 32 random bytes that live as long as the engine.
        rules: the level's rules.
    """

    __slots__ = ("_by_user", "_secret")

    def __init__(self, secret: bytes, rules: IsolationRules) -> None:
        if len(secret) < 32:
            raise ValueError(f"the secret must have 32 bytes or more, not {len(secret)}")
        self._secret = secret
        self._by_user = rules.salt_by_user

    def of(self, zone: str, tenant: str, user: str) -> str:
        """The salt of a request: 43 characters of base64url."""
        parts = (zone, tenant, user) if self._by_user else (zone, tenant)
        mac = hmac.new(self._secret, digestmod=sha256)
        for part in parts:
            encoded = part.encode()
            # Lengths go with the names, lest ("a", "bc") be ("ab", "c").
            mac.update(len(encoded).to_bytes(8, "big") + encoded)
        return urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()


class Tenure:
    """Whose turn it is in an engine that serves one tenant at a time.

    Args:
        hold_s: longest time for which the holder may start requests while another tenant waits.
    """

    __slots__ = ("_contended_at", "_hold_s", "holder")

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._contended_at: float | None = None
        self.holder: str | None = None

    def expired(self, now: float, others_wait: bool) -> bool:
        """Whether the holder may start no more requests, but only finish what it has.

        Args:
            now: time in seconds, from any origin.
            others_wait: whether a request of another tenant waits.
        """
        if self.holder is None or not others_wait:
            self._contended_at = None
            return False
        if self._contended_at is None:
            self._contended_at = now
        return now - self._contended_at >= self._hold_s

    def hand_over(self, tenant: str) -> bool:
        """Gives the engine, on which nothing runs, to a tenant.

        Returns:
            Whether it must be erased first: it has served another.
        """
        if tenant == self.holder:
            return False
        before, self.holder = self.holder, tenant
        self._contended_at = None
        return before is not None


class Headroom:
    """How much of the KV cache has been promised to requests that run.

    Args:
        capacity: tokens that the KV cache holds.
        block: tokens in one of its blocks.
        factor: how many times what is expected must fit.
    """

    __slots__ = ("_block", "limit", "promised")

    def __init__(self, capacity: int, block: int, factor: float) -> None:
        self._block = block
        self.limit = capacity / factor
        """Tokens that may be promised."""
        self.promised = 0

    def need(self, expected: int, present: int) -> int:
        """Tokens that a request will occupy.

        Args:
            expected: prompt + expected output.
            present: prompt + output so far.
        """
        return -(-max(expected, present) // self._block) * self._block

    def fits(self, need: int) -> bool:
        """Whether one more request may start; alone, each may."""
        return not self.promised or self.promised + need <= self.limit


class BatchWatch:
    """Looks at every batch before it is computed.

    Args:
        zone: the engine's zone.
        rules: its level's rules.
    """

    __slots__ = ("_last", "_rules", "_zone")

    def __init__(self, zone: str, rules: IsolationRules) -> None:
        self._zone = zone
        self._rules = rules
        self._last: frozenset[str] = frozenset()

    def look(self, batch: Iterable[tuple[Claim, str | None]]) -> None:
        """Checks a batch, and notes in its claims who shared it.

        Args:
            batch: each request's claim, and the salt that the engine goes by.

        Raises:
            IsolationViolated: requests are together that must be apart, or one could read what is
                cached of another.
        """
        claims = []
        for claim, salt in batch:
            if claim.zone != self._zone:
                raise IsolationViolated(
                    f"a request of zone {claim.zone!r} is in a batch of zone {self._zone!r}"
                )
            if not salt or salt != claim.salt:
                raise IsolationViolated("a request is in a batch without its own cache salt")
            claims.append(claim)
        tenants = frozenset([claim.tenant for claim in claims])
        if self._rules.one_tenant and len(tenants) > 1:
            raise IsolationViolated(
                f"a batch holds requests of {len(tenants)} tenants, where one at a time is served"
            )
        if tenants == self._last:
            tenants = self._last  # so that requests which stay together are told by identity
        self._last = tenants
        for claim in claims:
            claim.share(tenants)
