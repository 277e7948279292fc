"""What a warm pool has and what has happened in it, counted for those who look at it."""

from collections.abc import Mapping

from autoscaling.members import Members
from autoscaling.plan_terms import Running, Site
from autoscaling.pool_terms import Phase, Plan
from autoscaling.recycling import Recycling
from autoscaling.waiting import Waiting


def counts(
    plan: Plan,
    members: Members,
    recycling: Recycling,
    waiting: Waiting,
    events: Mapping[str, int],
    asked: int | None,
) -> dict[str, int]:
    """Everything, for the status and the metrics.

    Counts of now: a key for each phase (of replicas on nodes that stay), `doomed` (on nodes that
    go), `wanted`, `wanted_standby`, `planned`, `starting` (not heard of yet), `recycling`, `due`,
    `waiting_requests`, `asked` (by whoever looks ahead; missing if nobody does). Counts since the
    beginning: `woken`, `parked`, `recycled`, `put_off`, `failed_checks`, `lost`, `seen_off`
    (doomed ones that are gone), `cold_starts` (times that requests waited for a replica to be
    started) and `cold_start_requests` (those requests).

    Args:
        plan: What there should be.
        members: Who is there.
        recycling: Who is replaced.
        waiting: What waits.
        events: Counts of what only the pool itself sees.
        asked: Active replicas that are asked for.
    """
    phases = {phase.value: len(members.of(phase)) for phase in Phase}
    ahead = {} if asked is None else {"asked": asked}
    return phases | {
        "doomed": len(members.doomed()),
        "wanted": plan.active,
        "wanted_standby": plan.standby,
        "planned": plan.replicas,
        "starting": max(0, plan.replicas - len(members.present())),
        "recycling": len(recycling),
        "due": sum(recycling.due(member) for member in members),
        "waiting_requests": waiting.requests,
        "woken": events.get("woken", 0),
        "parked": events.get("parked", 0),
        "recycled": recycling.recycled,
        "put_off": recycling.put_offs,
        "failed_checks": events.get("failed_checks", 0),
        "lost": events.get("lost", 0),
        "seen_off": events.get("seen_off", 0),
        "cold_starts": waiting.cold_starts,
        "cold_start_requests": waiting.cold_start_requests,
        **ahead,
    }


def running(plan: Plan, members: Members, reactive: int, coming: Mapping[Site, int]) -> Running:
    """What there is, as whoever looks ahead wants to know it.

    Args:
        plan: What there should be.
        members: Who is there.
        reactive: Active replicas that the work outstanding needs by itself.
        coming: Replicas that start on nodes that stay, by where those are.
    """
    there = members.of(Phase.ACTIVE, Phase.WAKING, Phase.STANDBY)
    ages: dict[Site, list[float]] = {}
    for member in there:
        ages.setdefault(member.report.site, []).append(member.report.age_s)
    active = len(members.of(Phase.ACTIVE))
    return Running(
        active=active,
        standby=len(there) - active,
        starting=max(0, plan.replicas - len(members.present())),
        doomed=len(members.doomed()),
        reactive=reactive,
        planned=plan.replicas,
        sites={site: len(known) for site, known in ages.items()},
        ages={site: tuple(known) for site, known in ages.items()},
        coming=dict(coming),
    )
