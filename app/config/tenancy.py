"""Who may ask, how much, at what price, and what is kept of it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from app.config.types import (
    Count,
    CountOrZero,
    Cpus,
    Fraction,
    ModelName,
    PrincipalName,
    Seconds,
    Section,
    Text,
    ZoneName,
)

_SQLITE = "sqlite:///"


class Keys(StrEnum):
    """Whether a request must show who it is from."""

    REQUIRED = "required"
    OFF = "off"


class JwtConfig(Section):
    """Tokens of an identity provider (OpenID Connect) that are taken beside API keys."""

    issuer: Text
    """What `iss` must be."""
    audience: Text
    """What `aud` must be or hold."""
    jwks: Text
    """Where the provider's public keys are: an `https://` URL, or a file."""
    algorithms: tuple[Text, ...] = ("RS256", "ES256", "EdDSA")
    """Signature algorithms that are taken. Symmetric ones and `none` never are."""
    clock_skew_s: Annotated[float, Field(strict=True, ge=0, le=300)] = 30.0
    """How far the provider's clock may be from ours."""
    jwks_refresh_s: Seconds = 300.0
    """How often the keys are read again; sooner, but at most every 10 s, for an unknown key id."""
    tenant_claim: Text = "tenant"
    """Claim with the tenant; a dot leads into objects."""
    user_claim: Text = "sub"
    """Claim with the user."""
    zone_claim: Text = "zone"
    """Claim with the highest zone; without it, the lowest zone."""
    roles_claim: Text = "roles"
    """Claim with the roles, a list or words with spaces between; without it, `developer`."""
    models_claim: Text = "models"
    """Claim with the names of allowed models; without it, all."""
    tiers_claim: Text = "tiers"
    """Claim with the allowed tiers; without it, `standard` and `batch`."""


class AccessConfig(Section):
    """How callers prove who they are."""

    keys: Keys = Keys.REQUIRED
    """`off` serves whoever can connect, as the identity below: for closed test beds."""
    jwt: JwtConfig | None = None
    """Tokens of an identity provider; none are taken by default."""
    tenant: PrincipalName = "default"
    """Without keys: who pays."""
    user: PrincipalName = "anonymous"
    """Without keys: who asks."""
    max_zone: ZoneName | None = None
    """Without keys: highest zone that may be asked for; by default the highest of all."""


class StoreConfig(Section):
    """Where keys, tenants, limits, usage and the audit log are kept."""

    url: Text = "sqlite:///.tidegate/tidegate.db"
    """`sqlite:///FILE` for one node, `postgresql://USER@HOST/DATABASE` for many."""
    data_dir: Text = ".tidegate"
    """Directory of each node for secrets and for what is still to be delivered to the store."""

    def absolute(self, directory: Path) -> Self:
        """The same, with relative paths taken from a directory."""
        url = self.url
        file = url.removeprefix(_SQLITE)
        if file != url and not file.startswith("/"):
            url = f"{_SQLITE}{directory / file}"
        return self.model_copy(update={"url": url, "data_dir": str(directory / self.data_dir)})


class Durability(StrEnum):
    """Where usage must be before a client's stream ends."""

    JOURNAL = "journal"
    STORE = "store"


class LedgerConfig(Section):
    """The actors that hold reservations, windows and budgets."""

    shards: Count = 1
    """Ledgers, each with a share of the tenants."""
    cpus: Cpus = 0.25
    """CPU cores that Ray sets aside for each ledger."""
    lease_s: Seconds = 2.0
    """Seconds of a tenant's use that a gateway may take ahead."""
    timeout_s: Seconds = 2.0
    """How long a gateway waits for the ledger before its zone's policy decides."""
    durability: Durability = Durability.JOURNAL
    """`journal` writes usage to the gateway's disk before a stream ends and delivers it within
    milliseconds; `store` waits until the store has it."""


class LimitsConfig(Section):
    """How many tokens may be used; each can be set otherwise for one tenant or user."""

    user_tokens_per_minute: Count = 10_000
    """For each user of a tenant."""
    user_tokens_per_hour: Count = 100_000
    """For each user of a tenant."""
    tenant_tokens_per_minute: Count = 50_000
    """For all users of a tenant together."""
    burst: Annotated[float, Field(strict=True, ge=1, le=100)] = 1.5
    """How many times the rate may be used at once after a pause."""
    user_large_requests: Count = 1
    """Requests of the classes large and xl that one user may have running."""


class BudgetPolicy(StrEnum):
    """What becomes of requests once a budget is used up."""

    REFUSE = "refuse"
    DEGRADE = "degrade"
    ALLOW = "allow"


class BudgetsConfig(Section):
    """Money by day and month (UTC), in micro-dollars; each can be set otherwise by the admin."""

    tenant_day: CountOrZero | None = None
    """For each tenant; none by default."""
    tenant_month: CountOrZero | None = None
    """For each tenant; none by default."""
    key_day: CountOrZero | None = None
    """For each key; none by default."""
    key_month: CountOrZero | None = None
    """For each key; none by default."""
    alert: Fraction = 0.8
    """Share of a budget at which an alert is raised."""
    policy: BudgetPolicy = BudgetPolicy.REFUSE
    """What becomes of requests at 100%: `degrade` serves them in the batch tier."""


class PriceConfig(Section):
    """What a model's tokens cost, in micro-dollars a million tokens."""

    prompt: CountOrZero = 0
    """A million prompt tokens."""
    output: CountOrZero = 0
    """A million output tokens."""


class PricesConfig(Section):
    """Our own price table; nothing else decides what a request costs."""

    default: PriceConfig = PriceConfig()
    """Models that are not named below."""
    models: dict[ModelName, PriceConfig] = Field(default={})
    """By the model's name."""


class AuditConfig(Section):
    """The log of decisions."""

    retention_days: Annotated[float, Field(strict=True, gt=0)] = 365.0
    """Entries and usage older than this are removed, behind a signed checkpoint."""
    checkpoint_every: Count = 1000
    """Entries between two signed checkpoints."""
    checkpoint_s: Seconds = 60.0
    """Most seconds between two signed checkpoints, while there are entries."""


class WhenLedgerAway(StrEnum):
    """What becomes of a zone's requests while the ledger cannot be asked."""

    REFUSE = "refuse"
    SERVE = "serve"


class Scheduling(StrEnum):
    """How an engine's queue is ordered."""

    FAIR = "fair"
    FCFS = "fcfs"


class FairnessConfig(Section):
    """The waiting queue inside every engine."""

    scheduling: Scheduling = Scheduling.FAIR
    """`fair` serves tenants by their virtual token counters within bands of priority; `fcfs` in
    the order of arrival."""
    prompt_weight: Annotated[float, Field(strict=True, gt=0)] = 1.0
    """What a prompt token counts."""
    output_weight: Annotated[float, Field(strict=True, gt=0)] = 2.0
    """What an output token counts."""
    ageing_s: Seconds = 30.0
    """Seconds of waiting after which a request moves up one band."""
    credit: Annotated[float, Field(strict=True, ge=0, le=100)] = 4.0
    """How many requests of its own a tenant may be ahead of the others after a pause."""
    hold_s: Seconds = 2.0
    """In a zone of maximum isolation: longest time for which one tenant may keep an engine while
    another waits, before no more of its requests are started."""
    set_aside: Annotated[int, Field(strict=True, ge=0, le=100)] = 10
    """How often a request that runs may be set aside, to be computed again later, because the
    engine is full and a tenant waits that was served less; 0 for never. Only with `fair`."""


class GuardAction(StrEnum):
    """What becomes of a text in which something was found, mildest first."""

    OFF = "off"
    SHADOW = "shadow"
    FLAG = "flag"
    REDACT = "redact"
    REFUSE = "refuse"

    @property
    def strength(self) -> int:
        """0 for the mildest."""
        return list(GuardAction).index(self)


class PromptGuards(Section):
    """Actions on what comes in. Injection and exhaustion cannot be redacted."""

    personal_data: GuardAction = GuardAction.FLAG
    """E-mail addresses, phone numbers, SSN, payment cards, IBAN."""
    secrets: GuardAction = GuardAction.FLAG
    """API keys, private keys, passwords in URLs."""
    injection: GuardAction = GuardAction.FLAG
    """Attempts to override instructions; a heuristic."""
    exhaustion: GuardAction = GuardAction.FLAG
    """Repeated tokens and requests for endless output; a heuristic."""


class AnswerGuards(Section):
    """Actions on what goes out. Streams are filtered too."""

    personal_data: GuardAction = GuardAction.OFF
    """As in `prompt`."""
    secrets: GuardAction = GuardAction.OFF
    """As in `prompt`."""


class GuardPolicy(Section):
    """What is looked for, and what becomes of it."""

    prompt: PromptGuards = PromptGuards()
    """What comes in."""
    answer: AnswerGuards = AnswerGuards()
    """What goes out."""


class GuardsConfig(Section):
    """Guards by zone and tenant; of two policies for one request, the stricter action counts."""

    zones: dict[ZoneName, GuardPolicy] = Field(default={})
    """By zone; `flag` for prompts and nothing for answers where a zone is not named."""
    tenants: dict[PrincipalName, GuardPolicy] = Field(default={})
    """By tenant, on top of the zone's."""
    personal_data_zone: ZoneName | None = None
    """Zone that text with personal data is raised to; none by default."""
    isolate_above: Fraction = 0.8
    """Risk above which a request goes to a pool with `isolated: true` of its zone, if there is
    one."""
