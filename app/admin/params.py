"""The parameters of every operation."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from app.admin.values import (
    MOST,
    Cursor,
    ExportLimit,
    KeyId,
    Limit,
    Moment,
    Place,
    Reference,
    distinct,
    flag,
    words,
)
from app.admission.exchange import Rule
from app.admission.tier import Tier
from app.audit.events import EventKind
from app.config import BudgetPolicy
from app.config.types import Count, Flag, Fraction, PrincipalName, Section
from app.security.identity import Role


class LimitRule(StrEnum):
    """The limits that can be set for one tenant or user."""

    USER_MINUTE = Rule.USER_MINUTE.value
    USER_HOUR = Rule.USER_HOUR.value
    USER_LARGE = Rule.USER_LARGE.value
    TENANT_MINUTE = Rule.TENANT_MINUTE.value


class Period(StrEnum):
    """What a budget is for, in UTC."""

    DAY = "day"
    MONTH = "month"


class Dimension(StrEnum):
    """What usage can be summed by."""

    TENANT = "tenant"
    USER = "user"
    MODEL = "model"
    POOL = "pool"
    ZONE = "zone"
    ROUTE = "route"
    SIZE_CLASS = "size_class"
    TIER = "tier"
    KEY = "key"
    OUTCOME = "outcome"


class Interval(StrEnum):
    """Steps of time that usage can be summed by, in UTC."""

    HOUR = "hour"
    DAY = "day"


class KeysCreate(Section):
    """A new key for a user; tenant and user are made if there are none of these names."""

    tenant: PrincipalName
    """Who pays."""
    user: PrincipalName
    """Who asks."""
    zone: str
    """The highest zone that may be asked for."""
    roles: Annotated[tuple[Role, ...], AfterValidator(distinct)] = Field(
        default=(Role.DEVELOPER,), min_length=1
    )
    """What the key is for."""
    models: Annotated[tuple[str, ...], AfterValidator(distinct)] | None = Field(
        default=None, min_length=1
    )
    """Models that may be asked; without it, all that the maker of the key may ask."""
    tiers: Annotated[tuple[Tier, ...], AfterValidator(distinct)] | None = Field(
        default=None, min_length=1
    )
    """Tiers that may be asked for; `standard` and `batch` by default, `batch` for the role of this
    name."""
    expires_at: Moment | None = None
    """When it stops working; never by default."""


class KeysList(Section):
    """Keys, in the order of their ids."""

    tenant: Reference | None = None
    """Only this tenant's."""
    user: Reference | None = None
    """Only this user's."""
    revoked: Annotated[Flag, BeforeValidator(flag)] = False
    """Whether to list revoked keys too."""
    after: Cursor | None = None
    """The `next` of the page before."""
    limit: Limit = 100
    """Most keys in the answer."""


class OneKey(Section):
    """A key that exists."""

    id: KeyId
    """The part between `tg-` and the second hyphen."""


class KeysRotate(OneKey):
    """A new key with the rights of an old one, which goes on for a while."""

    overlap_s: Annotated[float, Field(strict=True, ge=0, le=30 * 86400, allow_inf_nan=False)] = (
        3600.0
    )
    """Seconds for which the old key still works."""


class TenantsCreate(Section):
    """A new tenant."""

    tenant: PrincipalName
    """Its name."""
    weight: Annotated[float, Field(strict=True, ge=0.01, le=100, allow_inf_nan=False)] = 1.0
    """Its share of a busy engine, against the weights of others."""


class TenantsList(Section):
    """Tenants, in the order of their names."""

    after: Cursor | None = None
    """The `next` of the page before."""
    limit: Limit = 100
    """Most tenants in the answer."""


class TenantsUpdate(Section):
    """A tenant's share."""

    tenant: Reference
    """Its name."""
    weight: Annotated[float, Field(strict=True, ge=0.01, le=100, allow_inf_nan=False)]
    """Its share of a busy engine, against the weights of others."""


class UsersCreate(Section):
    """A new user, of a tenant that exists."""

    tenant: Reference
    """The tenant's name."""
    user: PrincipalName
    """The user's name."""


class UsersList(Section):
    """A tenant's users, in the order of their names."""

    tenant: Reference
    """The tenant's name."""
    after: Cursor | None = None
    """The `next` of the page before."""
    limit: Limit = 100
    """Most users in the answer."""


class UsersForget(Section):
    """Deletes a user's personal data: the name, and the keys."""

    tenant: Reference
    """The tenant's name."""
    user: Reference
    """The user's name."""


class OfTenant(Section):
    """All, or one tenant's."""

    tenant: Reference | None = None
    """Only this tenant's."""


class OfPool(Section):
    """All, or one pool's."""

    pool: Reference | None = None
    """Only this pool's; in a disaggregated one both sides are."""


class LimitsDelete(Section):
    """A limit that goes back to the configuration's."""

    tenant: Reference
    """The tenant's name."""
    user: Reference | None = None
    """The user; without it, the tenant, or all its users."""
    rule: LimitRule
    """Which limit."""


class LimitsSet(LimitsDelete):
    """A limit of one tenant or user, in place of the configuration's."""

    value: Annotated[Count, Field(le=MOST)]
    """Tokens, or requests for `user_large_requests`."""


class BudgetsDelete(Section):
    """A budget that goes back to the configuration's."""

    tenant: Reference
    """The tenant's name."""
    key: KeyId | None = None
    """The key; without it, the tenant."""
    period: Period
    """`day` or `month`, in UTC."""


class BudgetsSet(BudgetsDelete):
    """Money that a tenant or a key may use in a day or a month."""

    micros: Annotated[int, Field(strict=True, ge=0, le=MOST)]
    """Micro-dollars."""
    alert: Fraction | None = None
    """Share at which an alert is raised; by default the configuration's."""
    policy: BudgetPolicy | None = None
    """What becomes of requests at 100%; by default the configuration's."""


class UsageQuery(Section):
    """Sums of what was used."""

    by: Annotated[tuple[Dimension, ...], BeforeValidator(words), AfterValidator(distinct)] = Field(
        default=(Dimension.TENANT,)
    )
    """What to sum by."""
    interval: Interval | None = None
    """Steps of time to sum by."""
    tenant: Reference | None = None
    """Only this tenant's."""
    user: Reference | None = None
    """Only this user's; needs `tenant`."""
    model: Reference | None = None
    """Only this model's."""
    since: Moment | None = None
    """From when on; by default one day before `until`."""
    until: Moment | None = None
    """Up to when; by default now."""
    limit: Limit = 1000
    """Most rows in the answer."""


class AuditList(Section):
    """Entries of the audit log, by chain and sequence."""

    tenant: Reference | None = None
    """Only this tenant's."""
    kind: EventKind | None = None
    """Only of this kind."""
    since: Moment | None = None
    """From when on."""
    until: Moment | None = None
    """Up to when."""
    after: Place | None = None
    """`CHAIN:SEQUENCE`, the `next` of the page before."""
    limit: Limit = 100
    """Most entries in the answer."""


class AuditCheckpoints(Section):
    """The signed checkpoints of the audit log, by chain and sequence."""

    after: Place | None = None
    """`CHAIN:SEQUENCE`, the `next` of the page before."""
    limit: Limit = 100
    """Most checkpoints in the answer."""


class AuditExport(Section):
    """Everything that verifying the audit log elsewhere takes, line by line."""

    after: Place | None = None
    """`CHAIN:SEQUENCE`, the `next` of the page before."""
    limit: ExportLimit = 500
    """Most entries in the answer."""


class AuditVerify(Section):
    """Whether the audit log is whole, as the service itself sees it."""
