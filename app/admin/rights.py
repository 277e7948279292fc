"""Who may do what: an admin everything; an operator keys, usage and reading, in its own tenant."""

from collections.abc import Collection, Iterable

from app.admission.tier import Tier
from app.config import FleetConfig
from app.config.explain import did_you_mean
from app.errors import InvalidRequest, ModelForbidden, RoleForbidden, TierForbidden, ZoneForbidden
from app.security.identity import Identity, Role

ADMIN = frozenset({Role.ADMIN})
MANAGERS = frozenset({Role.ADMIN, Role.OPERATOR})
EVERYBODY = frozenset(Role)

_GRANTABLE = {
    Role.ADMIN: frozenset(Role),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.DEVELOPER, Role.BATCH}),
}


def require(method: str, roles: frozenset[Role], caller: Identity) -> None:
    """Refuses callers that have none of the roles.

    Raises:
        RoleForbidden: as said.
    """
    if not caller.roles & roles:
        raise RoleForbidden(
            f"{method} is for {_listed(roles, 'or')}; this key is for "
            f"{_listed(caller.roles, 'and') or 'nothing'}"
        )


def is_admin(caller: Identity) -> bool:
    """Whether the caller may act in every tenant."""
    return Role.ADMIN in caller.roles


def own_tenant(caller: Identity, asked: str | None) -> str | None:
    """The tenant that an answer has to keep to; None for all of them.

    Args:
        caller: who asks.
        asked: the tenant that was asked for, if one was.

    Raises:
        RoleForbidden: it is not the caller's own, and the caller is no admin.
    """
    if is_admin(caller):
        return asked
    if asked not in {None, caller.tenant}:
        raise RoleForbidden(
            f"only an admin may look into another tenant; this key is of tenant {caller.tenant!r}",
            param="tenant",
        )
    return caller.tenant


def check_names(config: FleetConfig, zone: str, models: Iterable[str] | None) -> None:
    """Refuses zones and models that the fleet does not have.

    Raises:
        InvalidRequest: with the names there are.
    """
    if zone not in config.zones:
        raise InvalidRequest(_unknown("zone", zone, list(config.zones)), param="zone")
    known = [model.name for model in config.models]
    for model in models or ():
        if model not in known:
            raise InvalidRequest(_unknown("model", model, known), param="models")


def check_grant(
    config: FleetConfig,
    caller: Identity,
    *,
    tenant: str,
    roles: Iterable[Role],
    zone: str,
    models: Collection[str] | None,
    tiers: Iterable[Tier],
) -> None:
    """Refuses a key that could do what its maker cannot.

    Raises:
        RoleForbidden: another tenant, or a role above the caller's.
        ZoneForbidden: a zone above the caller's highest.
        ModelForbidden: a model that the caller may not ask.
        TierForbidden: a tier that the caller may not ask for.
    """
    own_tenant(caller, tenant)
    grantable = frozenset().union(*(_GRANTABLE.get(role, ()) for role in caller.roles))
    if above := set(roles) - grantable:
        raise RoleForbidden(
            f"this key may not give the role {_listed(above, 'or')}; it may give "
            f"{_listed(grantable, 'and')}",
            param="roles",
        )
    ranks = list(config.zones)
    highest = ranks.index(caller.max_zone) if caller.max_zone in ranks else -1
    # A zone that has left the configuration counts as above all others.
    if zone not in ranks or ranks.index(zone) > highest:
        raise ZoneForbidden(
            f"zone {zone!r} is above {caller.max_zone!r}, the highest zone of this key; "
            f"give {' or '.join(repr(name) for name in ranks[: highest + 1]) or 'none'}",
            param="zone",
        )
    if caller.models is not None and (models is None or set(models) - caller.models):
        raise ModelForbidden(
            f"this key may ask {', '.join(sorted(caller.models)) or 'no model'} only, and so may "
            "the keys it makes",
            param="models",
        )
    if above_tiers := set(tiers) - caller.tiers:
        raise TierForbidden(
            f"this key may not use the tier {_listed(above_tiers, 'or')}; it may use "
            f"{_listed(caller.tiers, 'and') or 'none'}",
            param="tiers",
        )


def _listed(words: Iterable[Role | Tier], last: str) -> str:
    order: list[Role | Tier] = [*Role, *Tier]
    names = [word.value for word in sorted(words, key=order.index)]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def _unknown(kind: str, name: str, known: list[str]) -> str:
    hint = did_you_mean(name, known) or f"the {kind}s are {', '.join(known)}"
    return f"there is no {kind} {name[:128]!r}; {hint}"
