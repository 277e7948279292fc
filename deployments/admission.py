"""Who may use how much: what a gateway asks of the ledger for each request, and tells it after."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from app.admission.exchange import Account, Settlement
from app.admission.prices import Price, PriceTable
from app.admission.refusals import Refusal, RefusalTally
from app.admission.tier import Tier
from app.api.admin import Call
from app.api.context import Allowance, Asked, RequestContext
from app.audit.events import AuditEvent, EventKind
from app.config import AccessConfig, Durability, FleetConfig, Keys, PricesConfig
from app.errors import LedgerUnavailable, Limited, NotFound, Refused, TidegateError
from app.routing.size_class import SizeClass
from app.security.authenticator import Authenticator
from app.security.directory import Directory
from app.security.identity import Identity
from app.security.tokens import TokenVerifier
from app.usage.journal import Journal
from deployments.ledger_client import JOURNAL_DIRECTORY, LedgerClient
from deployments.messages import Alert

REFUSALS_S = 1.0
LARGE = frozenset({SizeClass.LARGE, SizeClass.XL})
_MOST_ZONE = 64
# Errors by which policy, and not the request itself or its bad luck, says no.
_POLICY = (Refused, Limited, LedgerUnavailable)

Detail = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Work:
    """What a request can cost at most.

    Attributes:
        model: as clients name it.
        zone: the zone it is served in.
        size_class: its class.
        prompt_tokens: exact.
        output_tokens: of all its answers together: what the client allows, or else what is
            expected.
    """

    model: str
    zone: str
    size_class: SizeClass
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes:
        pool: where it was served.
        prompt_tokens: that were read.
        output_tokens: that were generated, of all its answers together.
        outcome: `finished`, `cancelled`, or an error's code.
        batch_tenants: who shared a batch with it.
    """

    pool: str
    prompt_tokens: int
    output_tokens: int
    outcome: str
    batch_tenants: tuple[str, ...] = ()


class Admission(Protocol):
    """What the gateway needs of either kind of admission."""

    @property
    def ready(self) -> bool:
        """Whether requests can be admitted."""
        ...

    async def identify(self, authorization: str | None) -> Identity:
        """Who shows this `Authorization` header."""
        ...

    async def reserve(self, context: RequestContext, work: Work) -> str:
        """Sets aside what a request can cost, and gives the id to settle it by."""
        ...

    async def settle(
        self, context: RequestContext, reservation: str, work: Work, outcome: Outcome
    ) -> None:
        """Accounts for what was really used; returns once that cannot be lost."""
        ...

    def release(self, reservation: str) -> None:
        """Gives back a reservation of which nothing was used."""
        ...

    def record(
        self, kind: EventKind, context: RequestContext, *, zone: str = "", **detail: Detail
    ) -> None:
        """Has an event of a request recorded; its zone is the one asked for unless told."""
        ...

    def refused(self, asked: Asked, error: TidegateError) -> None:
        """Has a refusal recorded."""
        ...

    def alerted(self, pool: str, replica_id: str, alert: Alert) -> None:
        """Has an engine's report of a breach of isolation recorded."""
        ...

    async def administer(self, call: Call, identity: Identity) -> dict[str, Any]:
        """Passes on a call of the admin routes."""
        ...

    async def close(self) -> None:
        """Delivers what is still to be delivered, as far as that is possible."""
        ...


class OpenAdmission:
    """Admission where keys are off: everybody is one identity, and nothing is counted.

    Args:
        access: which identity.
        highest_zone: the fleet's.
    """

    ready = True

    def __init__(self, access: AccessConfig, highest_zone: str) -> None:
        self._identity = Identity(
            access.tenant,
            access.user,
            access.max_zone or highest_zone,
            tiers=frozenset(Tier),
            unlimited=True,
        )

    async def identify(self, authorization: str | None) -> Identity:
        """The one identity."""
        return self._identity

    async def reserve(self, context: RequestContext, work: Work) -> str:
        """Nothing is set aside."""
        return ""

    async def settle(
        self, context: RequestContext, reservation: str, work: Work, outcome: Outcome
    ) -> None:
        """Nothing is accounted for."""

    def release(self, reservation: str) -> None:
        """Nothing was set aside."""

    def record(
        self, kind: EventKind, context: RequestContext, *, zone: str = "", **detail: Detail
    ) -> None:
        """Nothing is recorded."""

    def refused(self, asked: Asked, error: TidegateError) -> None:
        """Nothing is recorded."""

    def alerted(self, pool: str, replica_id: str, alert: Alert) -> None:
        """Nothing is recorded."""

    async def administer(self, call: Call, identity: Identity) -> dict[str, Any]:
        """There is nothing to administer.

        Raises:
            NotFound: always.
        """
        raise NotFound("this service runs without keys (access.keys: off), so it has no admin")

    async def close(self) -> None:
        """There is nothing to deliver."""


class KeyedAdmission:
    """Admission by keys and tokens, limits and budgets.

    Args:
        config: the fleet's configuration.
        ledger: the way to the ledger.
        journal: the ledger client's; closed with this.
        authenticator: checks keys and tokens.
    """

    def __init__(
        self,
        config: FleetConfig,
        ledger: LedgerClient,
        journal: Journal,
        authenticator: Authenticator,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._authenticator = authenticator
        self._durable = config.ledger.durability is Durability.STORE
        self._prices = price_table(config.prices)
        self._refusals = RefusalTally()
        self._reporter = asyncio.get_running_loop().create_task(self._report_forever())

    @property
    def ready(self) -> bool:
        """Whether the ledger can be asked and has told of the keys."""
        return self._ledger.ready

    async def identify(self, authorization: str | None) -> Identity:
        """Who shows this `Authorization` header, see `Authenticator.authenticate`."""
        try:
            return await self._authenticator.authenticate(authorization, time.time())
        except TidegateError as error:
            self._refusals.add(Refusal(EventKind.UNAUTHENTICATED, error.code), "")
            raise

    async def reserve(self, context: RequestContext, work: Work) -> str:
        """Sets aside what a request can cost, and gives the id to settle it by.

        Raises:
            Limited: a limit has been met; the error names it.
            LedgerUnavailable: the ledger is away, and the zone's policy is to refuse then.
        """
        identity = context.identity
        reservation = secrets.token_hex(16)
        detail: dict[str, Detail] = {"size_class": work.size_class.value, "tier": context.tier}
        if not identity.unlimited:
            tokens = work.prompt_tokens + work.output_tokens
            admitted = await self._ledger.reserve(
                _account(identity),
                tokens,
                self._prices.micros(work.model, work.prompt_tokens, work.output_tokens),
                large=work.size_class in LARGE,
                zone=work.zone,
                request_id=reservation,
            )
            if admitted.limit:
                context.allowance = Allowance(admitted.limit, admitted.remaining, admitted.reset_s)
            if admitted.degraded:
                context.tier = Tier.BATCH
            detail |= {"tokens": tokens, "degraded": admitted.degraded}
        self.record(EventKind.ADMITTED, context, zone=work.zone, **detail)
        return reservation

    async def settle(
        self, context: RequestContext, reservation: str, work: Work, outcome: Outcome
    ) -> None:
        """Accounts for what was really used; returns once that cannot be lost."""
        identity = context.identity
        micros = self._prices.micros(work.model, outcome.prompt_tokens, outcome.output_tokens)
        settlement = Settlement(
            id=reservation,
            request_id=context.request_id,
            at=time.time(),
            account=_account(identity),
            model=work.model,
            pool=outcome.pool,
            zone=work.zone,
            route=context.route,
            size_class=work.size_class.value,
            tier=context.tier.value,
            prompt_tokens=outcome.prompt_tokens,
            output_tokens=outcome.output_tokens,
            micros=micros,
            outcome=outcome.outcome,
            batch_tenants=outcome.batch_tenants,
        )
        self._ledger.settle(settlement)
        self.record(
            EventKind.COMPLETED,
            context,
            zone=work.zone,
            pool=outcome.pool,
            outcome=outcome.outcome,
            batch_tenants=" ".join(outcome.batch_tenants),
        )
        if self._durable:
            await self._ledger.settled(settlement)

    def release(self, reservation: str) -> None:
        """Gives back a reservation of which nothing was used."""
        self._ledger.release(reservation)

    def record(
        self, kind: EventKind, context: RequestContext, *, zone: str = "", **detail: Detail
    ) -> None:
        """Has an event of a request recorded."""
        identity = context.identity
        self._ledger.record(
            AuditEvent(
                id=secrets.token_hex(16),
                at=time.time(),
                kind=kind,
                tenant=identity.tenant,
                user=identity.user,
                key=identity.key,
                request_id=context.request_id,
                zone=zone or context.zone,
                detail=detail,
            )
        )

    def refused(self, asked: Asked, error: TidegateError) -> None:
        """Has a refusal recorded, together with others like it of the same second."""
        if not isinstance(error, _POLICY):
            return
        identity = asked.identity
        refusal = Refusal(
            EventKind.REFUSED,
            error.code,
            identity.tenant,
            identity.user,
            identity.key,
            (asked.zone or "")[:_MOST_ZONE],
            error.rule if isinstance(error, Limited) else "",
        )
        self._refusals.add(refusal, asked.request_id)

    def alerted(self, pool: str, replica_id: str, alert: Alert) -> None:
        """Has an engine's report of a breach of isolation recorded."""
        self._ledger.record(
            AuditEvent(
                id=secrets.token_hex(16),
                at=time.time(),
                kind=EventKind.ISOLATION,
                zone=alert.zone,
                detail={
                    "pool": pool,
                    "replica": replica_id,
                    "code": alert.code,
                    "what": alert.message,
                    "fatal": alert.fatal,
                },
            )
        )

    async def administer(self, call: Call, identity: Identity) -> dict[str, Any]:
        """Passes on a call of the admin routes to the registrar."""
        return await self._ledger.call(call.name, call.params, identity)

    async def close(self) -> None:
        """Delivers what the ledger has not been told, as far as that is possible."""
        self._reporter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reporter
        self._report()
        await self._ledger.close()
        await asyncio.to_thread(self._journal.close)

    async def _report_forever(self) -> None:
        while True:
            await asyncio.sleep(REFUSALS_S)
            self._report()

    def _report(self) -> None:
        for event in self._refusals.take(time.time(), _ids()):
            self._ledger.record(event)


async def open_admission(config: FleetConfig) -> tuple[Admission, LedgerClient | None]:
    """The admission that is configured, and the ledger's client if it has one.

    Raises:
        StoreUnavailable: this gateway's journal cannot be written.
    """
    if config.access.keys is Keys.OFF:
        return OpenAdmission(config.access, list(config.zones)[-1]), None
    zones = tuple(config.zones)
    directory = Directory()
    jwt = config.access.jwt
    tokens = None if jwt is None else TokenVerifier(jwt, zones)
    gateway = f"gateway-{secrets.token_hex(8)}"
    journal = Journal(Path(config.store.data_dir) / JOURNAL_DIRECTORY, gateway).open()
    ledger = LedgerClient(config, gateway, journal)
    ledger.on_directory = directory.apply
    await ledger.start()
    return KeyedAdmission(config, ledger, journal, Authenticator(directory, tokens)), ledger


def price_table(config: PricesConfig) -> PriceTable:
    """The configured prices as their core takes them."""
    return PriceTable(
        Price(config.default.prompt, config.default.output),
        {name: Price(price.prompt, price.output) for name, price in config.models.items()},
    )


def _account(identity: Identity) -> Account:
    return Account(identity.tenant, identity.user, identity.key)


def _ids() -> Iterator[str]:
    while True:
        yield secrets.token_hex(16)
