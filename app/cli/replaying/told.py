"""The outcome in words and numbers: tables, and plain data for JSON."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from app.cli.replaying.policies import OURS, STATIC
from app.cli.replaying.run import PoolReplay, Replay, Run
from app.cli.show import new_table, plain
from autoscaling.simulator.outcome import Latency, Outcome

if TYPE_CHECKING:
    from rich.table import Table

MOST_TENANTS = 10
"""So many are printed; JSON has all of them."""

_ROWS: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("cost", lambda run: f"${run.outcome.dollars:,.2f}"),
    ("cost of a million tokens", lambda run: _each_million(run.outcome)),
    ("requests within the SLO", lambda run: f"{run.outcome.attainment:.2%}"),
    ("TTFT p50 / p95 / p99, s", lambda run: _latency(run.outcome.ttft)),
    ("ITL p50 / p95 / p99, s", lambda run: _latency(run.outcome.itl)),
    ("replica hours", lambda run: f"{run.outcome.replica_hours:,.1f}"),
    ("GPU hours", lambda run: "-" if run.gpu_hours is None else f"{run.gpu_hours:,.1f}"),
    ("share on spot", lambda run: f"{run.outcome.spot_share:.1%}"),
    ("preemptions", lambda run: f"{run.outcome.preemptions:,}"),
    ("requests sent again", lambda run: f"{run.outcome.retried:,}"),
    ("requests lost or refused", lambda run: f"{run.outcome.lost:,} / {run.outcome.refused:,}"),
    ("requests that met a cold start", lambda run: f"{run.outcome.cold_wait_share:.2%}"),
    ("too few replicas for", lambda run: f"{run.outcome.shortfall_s / 60:,.1f} min"),
)


def tables(replay: Replay) -> "list[Table]":
    """Everything that is worth a look.

    Args:
        replay: What came of it.
    """
    found = [_pool_table(name, pool) for name, pool in replay.pools.items()]
    if len(replay.pools) > 1:
        found.append(_fleet_table(replay))
    if len(replay.demand.tenants) > 1:
        found.append(_tenants_table(replay))
    return found


def document(replay: Replay) -> dict[str, Any]:
    """All of it as plain data; null where there is no number, such as a cost of no tokens.

    Args:
        replay: What came of it.
    """
    requests = replay.demand.requests
    found = {
        "demand": {
            "source": replay.demand.source,
            "start": _moment(replay.demand.start),
            "hours": replay.demand.last_s / 3600,
            "requests": len(requests),
            "prompt_tokens": int(requests.prompt.sum(dtype="int64")),
            "output_tokens": int(requests.output.sum(dtype="int64")),
            "tenants": len(replay.demand.tenants),
            "left_out": dict(replay.routed.nowhere),
        },
        "pools": {name: _pool_document(pool) for name, pool in replay.pools.items()},
        "notes": list(replay.notes),
    }
    plain_data: dict[str, Any] = _finite(found)
    return plain_data


def _pool_table(name: str, pool: PoolReplay) -> "Table":
    scenario, capacity = pool.case.scenario, pool.case.scenario.capacity
    hours = (scenario.end_s - scenario.begin_s) / 3600
    one = next(iter(pool.runs.values())).outcome
    table = new_table(
        f"{plain(name)}: {one.requests:,} requests in {hours:,.1f} h, at most "
        f"{float(pool.case.needed.max()):,.1f} replicas busy "
        f"({capacity.prefill_tps:g} prompt or {capacity.decode_tps:g} output tokens/s each); "
        f"TTFT {scenario.slo.ttft_s:g} s, ITL {scenario.slo.itl_s:g} s",
        "",
    )
    for each in _headings(pool):
        table.add_column(each, justify="right")
    for title, cell in _ROWS:
        cells = [cell(run) for run in pool.runs.values()]
        if set(cells) != {"-"}:
            table.add_row(title, *cells)
    return table


def _fleet_table(replay: Replay) -> "Table":
    table = new_table("All pools", "", *_headings(next(iter(replay.pools.values()))))
    sums = _sums(replay)
    for title, key, form in (
        ("cost", "dollars", "${:,.2f}"),
        ("requests within the SLO", "attainment", "{:.2%}"),
        ("replica hours", "replica_hours", "{:,.1f}"),
        ("requests lost or refused", "unserved", "{:,.0f}"),
    ):
        table.add_row(title, *(form.format(each[key]) for each in sums.values()))
    return table


def _tenants_table(replay: Replay) -> "Table":
    one = next(iter(replay.pools.values()))
    policies = list(one.runs)
    costs = {policy: _by_tenant(replay, policy) for policy in policies}
    total = {policy: sum(each.values()) or 1.0 for policy, each in costs.items()}
    table = new_table("Cost by tenant, by the work that was theirs", "tenant", *_headings(one))
    first = costs[policies[0]]
    shown = sorted(first, key=lambda name: (-first[name], name))[:MOST_TENANTS]
    for name in shown:
        table.add_row(
            plain(name),
            *(
                f"${each[name]:,.2f} ({each[name] / total[policy]:.1%})"
                for policy, each in costs.items()
            ),
        )
    if len(first) > len(shown):
        table.add_row(
            f"{len(first) - len(shown):,} others",
            *(
                f"${sum(cost for name, cost in each.items() if name not in shown):,.2f}"
                for each in costs.values()
            ),
        )
    return table


def _by_tenant(replay: Replay, policy: str) -> dict[str, float]:
    costs: dict[str, float] = {}
    for pool in replay.pools.values():
        for tenant, share in pool.tenants.items():
            dollars = share * pool.runs[policy].outcome.dollars
            costs[tenant] = costs.get(tenant, 0.0) + dollars
    return costs


def _sums(replay: Replay) -> dict[str, dict[str, float]]:
    found = {}
    for policy in next(iter(replay.pools.values())).runs:
        outcomes = [pool.runs[policy].outcome for pool in replay.pools.values()]
        requests = sum(each.requests for each in outcomes)
        found[policy] = {
            "dollars": sum(each.dollars for each in outcomes),
            "attainment": sum(each.met for each in outcomes) / max(1, requests),
            "replica_hours": sum(each.replica_hours for each in outcomes),
            "unserved": float(sum(each.lost + each.refused for each in outcomes)),
        }
    return found


def _pool_document(pool: PoolReplay) -> dict[str, Any]:
    scenario, capacity = pool.case.scenario, pool.case.scenario.capacity
    return {
        "slo": asdict(scenario.slo),
        "capacity": {
            "prefill_tokens_per_s": capacity.prefill_tps,
            "decode_tokens_per_s": capacity.decode_tps,
        },
        "prices": {
            "/".join(filter(None, (site.market, site.availability_zone))): price
            for site, price in sorted(scenario.prices.items())
        },
        "lead_s": scenario.lead_s,
        "notice_s": scenario.notice_s,
        "replicas": {"least": scenario.least, "most": scenario.most, "first": scenario.first},
        "most_needed": float(pool.case.needed.max()),
        "tenants": dict(pool.tenants),
        "policies": {policy: _run_document(run) for policy, run in pool.runs.items()},
    }


def _run_document(run: Run) -> Mapping[str, Any]:
    outcome = run.outcome
    return {
        "dollars": outcome.dollars,
        "dollars_per_million_tokens": outcome.cost_per_million,
        "attainment": outcome.attainment,
        "replica_hours": outcome.replica_hours,
        "gpu_hours": run.gpu_hours,
        "spot_share": outcome.spot_share,
        "cold_wait_share": outcome.cold_wait_share,
    } | outcome.to_json()


def heading(policy: str, run: Run) -> str:
    """What a policy is called before people: rules of others are only like theirs.

    Args:
        policy: Its name on the command line.
        run: What came of it.
    """
    return policy if policy in {OURS, STATIC} else run.outcome.policy


def _headings(pool: PoolReplay) -> list[str]:
    return [plain(heading(policy, run)) for policy, run in pool.runs.items()]


def _each_million(outcome: Outcome) -> str:
    return f"${outcome.cost_per_million:,.4f}" if outcome.tokens else "-"


def _latency(latency: Latency) -> str:
    return " / ".join(f"{each:.3g}" for each in (latency.p50, latency.p95, latency.p99))


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _finite(value: Any) -> Any:
    """The same without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
