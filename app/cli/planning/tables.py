"""A plan in a terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from app.cli.show import new_table, plain

if TYPE_CHECKING:
    from rich.table import Table

    from autoscaling.optimizer.advice import Advice
    from autoscaling.optimizer.fleet_plan import FleetPlan, PlannedPool
    from autoscaling.optimizer.hosted import HostedComparison
    from autoscaling.optimizer.terms import FleetProfile


def all_tables(advice: "Advice", profile: "FleetProfile") -> "Iterator[Table]":
    """One after another.

    Args:
        advice: What was worked out.
        profile: What for.
    """
    yield _pools(advice.plan)
    yield _gpus(advice.plan, profile)
    yield _isolation(advice)
    yield _frontier(advice)
    if advice.hosted:
        yield _hosted(advice)


def sentences(advice: "Advice") -> list[str]:
    """What the figures say, in words.

    Args:
        advice: What was worked out.
    """
    plan = advice.plan
    worth = (
        f"Of each dollar, {plan.utilisation * 100:.0f} cents pay for replicas while they compute. "
        f"One more point of utilisation is worth {money(plan.point_worth_year)} a year."
    )
    found = [worth]
    if isinstance(advice.on_demand, str):
        found.append(f"Without spot nodes there is no fleet: {advice.on_demand}.")
    elif (saved := advice.on_demand.dollars_month - plan.dollars_month) >= 0.5:
        found.append(
            f"Spot nodes save {money(saved)} a month, "
            f"{saved / advice.on_demand.dollars_month:.0%} of a fleet without them."
        )
    return found + [_hosted_sentence(each) for each in advice.hosted]


def notes(advice: "Advice") -> list[str]:
    """What is to be known of the figures.

    Args:
        advice: What was worked out.
    """
    found = []
    if advice.plan.gap > 1e-4:
        found.append(f"a fleet up to {advice.plan.gap:.2%} cheaper may exist: the search was ended")
    for first, second in _alike(advice.plan.pools):
        found.append(
            f"the pools of {', '.join(first.streams)} and of {', '.join(second.streams)} are of one"
            " zone, model and size class: give one of them a zone of its own, of the same level"
        )
    if advice.frontier.left_out:
        found.append(
            f"{advice.frontier.left_out} latencies at which the cost might change were left out of "
            "the frontier; --latencies tries more"
        )
    for each in advice.hosted:
        if each.kept:
            verb = "is" if len(each.kept) == 1 else "are"
            found.append(
                f"{', '.join(each.kept)} must stay, and {verb} not in the comparison of "
                f"{each.model} with a hosted API"
            )
    return found


def money(dollars: float) -> str:
    """Such as `$1,234`."""
    return f"${dollars:,.0f}"


def tokens(count: float) -> str:
    """Such as `43.7 billion`."""
    for unit, size in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,.0f}"


def _pools(plan: "FleetPlan") -> "Table":
    table = new_table(
        f"The cheapest fleet: {money(plan.dollars_month)} a month, "
        f"${plan.dollars_per_million:.2f} a million tokens",
        "zone",
        "isolation",
        "streams",
        "engine",
        "on demand",
        "spot",
        "load",
        "TTFT",
        "ITL",
        "a month",
    )
    hours = " (peak, other hours)" if len(plan.pools[0].load) > 1 else ""
    table.caption = f"Replicas{hours}; load is what the work asks for, with the level's headroom."
    table.caption_justify = "left"
    for pool in plan.pools:
        table.add_row(
            plain(pool.zone.name) + (f"\n({plain(pool.tenant)} alone)" if pool.tenant else ""),
            pool.zone.isolation,
            "\n".join(map(plain, pool.streams)),
            plain(pool.engine.name),
            ", ".join(map(str, pool.on_demand)),
            ", ".join(map(str, pool.spot)),
            ", ".join(f"{load:.1f}" for load in pool.load),
            f"{pool.point.ttft_s:g} s",
            f"{pool.point.itl_s * 1000:.0f} ms",
            money(pool.dollars_h * 730),
        )
    return table


def _gpus(plan: "FleetPlan", profile: "FleetProfile") -> "Table":
    table = new_table("GPUs at the peak", "type", "market", "an hour", "used", "most")
    for gpu in profile.gpus:
        for market, offer in (("on-demand", gpu.on_demand), ("spot", gpu.spot)):
            if offer is not None:
                table.add_row(
                    plain(gpu.name),
                    market,
                    f"${offer.price:.2f}",
                    str(plan.gpus(gpu.name, market)),
                    "-" if offer.most is None else f"{offer.most:,}",
                )
    return table


def _isolation(advice: "Advice") -> "Table":
    table = new_table(
        "What each step of isolation costs, at the promised latency",
        "step",
        "meaning",
        "a month",
        "more than before",
        "more a year",
    )
    for cost in advice.steps:
        more = None if cost.more is None else cost.more if abs(cost.more) >= 0.5 else 0.0
        before = cost.plan.dollars_month - more if cost.plan and more is not None else 0.0
        table.add_row(
            cost.step.name,
            cost.step.meaning,
            money(cost.plan.dollars_month) if cost.plan else plain(cost.problem),
            "-" if more is None else f"{money(more)} ({more / before if before else 0:.1%})",
            "-" if more is None else money(more * 12),
        )
    return table


def _frontier(advice: "Advice") -> "Table":
    around = advice.frontier
    steps = [cost.step.name for cost in advice.steps]
    table = new_table(
        "Dollars a month by latency (1: as promised) and isolation; *: frontier",
        "latency",
        *steps,
    )
    cells = {(point.latency, point.step.name): point for point in around.points}
    for latency in around.latencies:
        row = [cells[latency, step] for step in steps]
        table.add_row(
            f"{latency:.3g}",
            *(
                "none"
                if point.dollars_h is None
                else money(point.dollars_h * 730) + (" *" if point.best else "")
                for point in row
            ),
        )
    return table


def _hosted(advice: "Advice") -> "Table":
    table = new_table(
        "A fleet of one's own against a hosted API",
        "model",
        "tokens a month",
        "own fleet",
        "API",
        "break-even, tokens a month",
    )
    for each in advice.hosted:
        table.add_row(
            plain(each.model),
            tokens(each.now.tokens),
            money(each.now.own),
            money(each.now.hosted),
            "own fleet dearer throughout"
            if each.break_even is None
            else tokens(each.break_even)
            if each.break_even
            else "own fleet cheaper throughout",
        )
    return table


def _hosted_sentence(found: "HostedComparison") -> str:
    own, api = found.now.own, found.now.hosted
    word = "dearer" if own > api else "cheaper"
    more = f"{found.model}: at this demand a fleet of one's own is {money(abs(own - api))} {word}"
    if found.break_even is None:
        most = tokens(found.curve[-1].tokens)
        return f"{more} a month than the API, and up to {most} tokens a month it stays dearer."
    if not found.break_even:
        least = tokens(found.curve[0].tokens)
        return f"{more} a month than the API, and down to {least} tokens a month it stays cheaper."
    return (
        f"{more} a month than the API. Below about {tokens(found.break_even)} tokens a month, "
        f"{found.break_even / found.now.tokens:.0%} of this demand, the API is cheaper."
    )


def _alike(pools: "Sequence[PlannedPool]") -> "Iterator[tuple[PlannedPool, PlannedPool]]":
    """Pools that routing could not tell apart: there is one for a zone, model and size class."""
    for index, first in enumerate(pools):
        for second in pools[index + 1 :]:
            same = (first.zone.name, first.engine.model) == (second.zone.name, second.engine.model)
            if same and set(first.size_classes) & set(second.size_classes):
                yield first, second
