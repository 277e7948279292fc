"""Rules that span fields of the configuration.

Every rule yields all that it finds, and all rules run, so that one start shows every mistake.
Paths are relative to ``args``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.classification.markers import ZoneMarkers
from app.config.explain import did_you_mean
from app.config.pool_checks import check_pool
from app.config.tenancy import GuardAction, WhenLedgerAway
from app.config.types import Isolation, Role
from app.config.weights_checks import check_weights
from app.errors import ConfigError, ConfigIssue
from app.routing.size_class import SizeClass
from app.security.algorithms import check_algorithms, check_location

if TYPE_CHECKING:
    from app.config.fleet import FleetConfig


def check(fleet: "FleetConfig") -> list[ConfigIssue]:
    """Everything that is wrong across fields, in the order of the file.

    Args:
        fleet: A configuration whose fields are valid each by itself.
    """
    issues = [
        *_names(fleet),
        *_zones(fleet),
        *_away(fleet),
        *_references(fleet),
        *_coverage(fleet),
        *_classifier(fleet),
        *_routing(fleet),
        *_access(fleet),
        *_store(fleet),
        *_prices(fleet),
        *_guards(fleet),
        *check_weights(fleet),
    ]
    for index, pool in enumerate(fleet.pools):
        model = next((model for model in fleet.models if model.name == pool.model), None)
        issues += check_pool(f"pools[{index}]", pool, model)
    return sorted(issues, key=lambda issue: _position(fleet, issue.path))


def _position(fleet: "FleetConfig", path: str) -> tuple[int, int]:
    section, _, index = path.partition(".")[0].partition("[")
    return list(type(fleet).model_fields).index(section), int(index.rstrip("]") or 0)


def _names(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    yield from _duplicates("models", [model.name for model in fleet.models])
    yield from _duplicates("pools", [pool.name for pool in fleet.pools])
    divided = {
        f"{pool.name}--{role}": pool.name
        for pool in fleet.pools
        for role in pool.roles
        if role is not Role.WHOLE
    }
    for index, pool in enumerate(fleet.pools):
        if pool.name in divided:
            yield ConfigIssue(
                f"pools[{index}].name",
                f"{pool.name!r} is what one side of the disaggregated pool "
                f"{divided[pool.name]!r} is called; give it another name",
            )


def _duplicates(section: str, names: list[str]) -> Iterator[ConfigIssue]:
    for index, name in enumerate(names):
        first = names.index(name)
        if first != index:
            yield ConfigIssue(
                f"{section}[{index}].name",
                f"{name!r} is already the name of {section}[{first}]; give it another name",
            )


def _zones(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    strongest = None
    for name, zone in fleet.zones.items():
        if strongest and zone.isolation.strength < fleet.zones[strongest].isolation.strength:
            yield ConfigIssue(
                f"zones.{name}.isolation",
                f"{zone.isolation.value!r} is weaker than that of the lower zone {strongest!r} "
                f"({fleet.zones[strongest].isolation}); zones stand from the lowest to the "
                "highest: change their order or strengthen the isolation",
            )
        else:
            strongest = name


def _away(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    for name, zone in fleet.zones.items():
        if zone.isolation is Isolation.MAXIMUM and zone.when_ledger_away is WhenLedgerAway.SERVE:
            yield ConfigIssue(
                f"zones.{name}.when_ledger_away",
                "'serve' is not possible with maximum isolation: nothing is served there that "
                "nobody accounts for; use 'refuse' or a weaker isolation",
            )


def _unknown(kind: str, name: str, known: list[str]) -> str:
    hint = did_you_mean(name, known) or f"the {kind}s are {', '.join(known)}"
    return f"there is no {kind} {name!r}; {hint}"


def _references(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    models, zones = [model.name for model in fleet.models], list(fleet.zones)
    if fleet.default_zone not in zones:
        yield ConfigIssue("default_zone", _unknown("zone", fleet.default_zone, zones))
    for index, pool in enumerate(fleet.pools):
        if pool.model not in models:
            yield ConfigIssue(f"pools[{index}].model", _unknown("model", pool.model, models))
        if pool.zone not in zones:
            yield ConfigIssue(f"pools[{index}].zone", _unknown("zone", pool.zone, zones))


def _coverage(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    for zone in fleet.zones:
        pools = [pool for pool in fleet.pools if pool.zone == zone]
        if not pools:
            yield ConfigIssue(
                f"zones.{zone}", f"no pool serves it: add a pool with `zone: {zone}` or remove it"
            )
        elif all(pool.isolated for pool in pools):
            yield ConfigIssue(
                f"zones.{zone}",
                "all its pools are `isolated`, which serve only risky requests: add one that is "
                "not",
            )
    for index, model in enumerate(fleet.models):
        if all(pool.model != model.name for pool in fleet.pools):
            yield ConfigIssue(
                f"models[{index}]",
                f"no pool serves {model.name!r}: add a pool with `model: {model.name}` or "
                "remove it",
            )
    served: set[SizeClass] = {
        size_class for pool in fleet.pools for size_class in pool.size_classes
    }
    for size_class in fleet.size_classes_required:
        if size_class not in served:
            yield ConfigIssue(
                "size_classes_required",
                f"no pool serves {size_class.value!r} (requests up to {size_class.limit} tokens): "
                "add it to a pool's `size_classes`, or leave it out of `size_classes_required`",
            )


def _classifier(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    for zone, patterns in fleet.classifier.zone_markers.items():
        path = f"classifier.zone_markers.{zone}"
        if zone not in fleet.zones:
            yield ConfigIssue(path, _unknown("zone", zone, list(fleet.zones)))
        for index, pattern in enumerate(patterns):
            try:
                # The one that will search for it, so that what passes here works there.
                ZoneMarkers({zone: [pattern]})
            except ValueError as error:
                reason = str(error).removeprefix(f"zone {zone}: ")
                yield ConfigIssue(
                    f"{path}[{index}]",
                    f"{reason}; write what marks a text, without look-around and back-references",
                )


def _routing(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    breaker = fleet.routing.breaker
    if breaker.most_open_s < breaker.open_s:
        yield ConfigIssue(
            "routing.breaker.most_open_s",
            f"{breaker.most_open_s:g} is below `open_s` ({breaker.open_s:g}): raise it or lower "
            "`open_s`",
        )


def _access(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    jwt = fleet.access.jwt
    if jwt is not None:
        for problem in check_algorithms(jwt.algorithms):
            yield ConfigIssue("access.jwt.algorithms", problem)
        for problem in check_location(jwt.jwks):
            yield ConfigIssue("access.jwt.jwks", problem)
    highest, zones = fleet.access.max_zone, list(fleet.zones)
    if highest is None:
        return
    if highest not in zones:
        yield ConfigIssue("access.max_zone", _unknown("zone", highest, zones))
    elif fleet.default_zone in zones and zones.index(highest) < zones.index(fleet.default_zone):
        yield ConfigIssue(
            "access.max_zone",
            f"{highest!r} is below `default_zone` ({fleet.default_zone}), so every request "
            "without a key would be refused: raise it or lower `default_zone`",
        )


def _store(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    # Imported here: the database's drivers take longer than all the rest of a check.
    from app.store.url import parse_url

    try:
        parse_url(fleet.store.url)
    except ConfigError as error:
        yield from error.issues


def _prices(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    models = [model.name for model in fleet.models]
    for name in fleet.prices.models:
        if name not in models:
            yield ConfigIssue(f"prices.models.{name}", _unknown("model", name, models))


def _guards(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    zones, guards = list(fleet.zones), fleet.guards
    for name in guards.zones:
        if name not in fleet.zones:
            yield ConfigIssue(f"guards.zones.{name}", _unknown("zone", name, zones))
    floor = guards.personal_data_zone
    if floor is not None and floor not in fleet.zones:
        yield ConfigIssue("guards.personal_data_zone", _unknown("zone", floor, zones))
    for owner, policy in (
        *((f"zones.{name}", policy) for name, policy in guards.zones.items()),
        *((f"tenants.{name}", policy) for name, policy in guards.tenants.items()),
    ):
        for kind, action in policy.prompt:
            if not fleet.classifier.enabled and action.strength >= GuardAction.REDACT.strength:
                yield ConfigIssue(
                    f"guards.{owner}.prompt.{kind}",
                    f"{action.value!r} needs the classifier, which is off: set "
                    "`classifier.enabled: true`, or use a milder action",
                )
        for kind in ("injection", "exhaustion"):
            if getattr(policy.prompt, kind) is GuardAction.REDACT:
                yield ConfigIssue(
                    f"guards.{owner}.prompt.{kind}",
                    "'redact' is not possible, since what was found is the whole text's meaning: "
                    "use 'flag' or 'refuse'",
                )
