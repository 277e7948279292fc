import pytest

from app.errors import Infeasible
from autoscaling.optimizer.candidates import Aim
from autoscaling.optimizer.solving import cheapest
from autoscaling.optimizer.terms import Gpu, Offer
from tests.unit.optimizer.small_fleets import profile, stream


def why(*args: object, aim: Aim | None = None, **changes: object) -> str:
    with pytest.raises(Infeasible) as caught:
        cheapest(profile(*args, **changes), aim)  # type: ignore[arg-type]
    return str(caught.value)


def test_too_few_gpus_are_named_with_the_number_that_is_missing() -> None:
    # 5.5 replicas of `ea`, and nothing else to be had.
    one = stream("x", 0, 5000, most_spot=0.0)
    gpus = (Gpu("a", Offer(2.0, 4)), Gpu("h", Offer(5.0, 0)))
    reason = why(one, gpus=gpus)
    assert "gpus.a.on_demand.most is 4 and 6 GPUs are needed: raise it by 2" in reason
    # 1.83 replicas of two GPUs each would do as well.
    assert "or gpus.h.on_demand.most is 0 and 4 GPUs are needed" in reason


def test_limits_that_must_be_raised_together_are_named_together() -> None:
    streams = (
        stream("x", 0, 5000, most_spot=0.0, size_class="medium"),
        stream("y", 0, 5000, most_spot=0.0, itl_s=0.02, ttft_s=0.3),
    )
    reason = why(*streams, gpus=(Gpu("a", Offer(2.0, 4)), Gpu("h", Offer(5.0, 2))))
    assert "raising one is not enough" in reason
    assert "gpus.a.on_demand.most is 4 and 6 GPUs are needed" in reason
    assert "; and gpus.h.on_demand.most is 2 and 4 GPUs are needed" in reason


def test_a_budget_that_is_too_small_says_what_the_cheapest_fleet_costs() -> None:
    one = stream("x", 0, 5000, most_spot=0.0)
    gpus = (Gpu("a", Offer(2.0)), Gpu("h", Offer(5.0, 0)))
    reason = why(one, gpus=gpus, budget=10.0)
    # Six replicas of $2 an hour.
    assert "costs $8,760 a month" in reason
    assert "allows $7,300: raise it by $1,460" in reason


def test_raising_what_does_not_help_is_not_offered() -> None:
    streams = (stream("x", 0, 5000, most_spot=0.0, size_class="medium"),)
    reason = why(*streams, gpus=(Gpu("a", Offer(2.0, 4)), Gpu("h", Offer(5.0, 2))))
    assert "gpus.a" in reason
    assert "gpus.h" not in reason


def test_spot_that_may_not_be_used_is_no_way_out() -> None:
    one = stream("x", 0, 5000, most_spot=0.5)
    gpus = (Gpu("a", Offer(2.0, 2), Offer(1.0, 99), 1.0), Gpu("h", Offer(5.0, 0)))
    reason = why(one, gpus=gpus)
    assert "gpus.a.on_demand.most is 2 and 3 GPUs are needed" in reason
    assert "spot" not in reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "other"}, "no engine serves the model 'other'"),
        ({"size_class": "xl"}, "takes the size class 'xl', only medium, small"),
        ({"itl_s": 0.01}, "The nearest is eh: asked for is itl_s of 0.01 s, and it is 0.02 s"),
        ({"ttft_s": 0.1}, "ttft_s of 0.1 s, and it is 0.3 s"),
    ],
)
def test_a_stream_that_no_engine_can_serve_is_named(changes: dict[str, object], words: str) -> None:
    reason = why(stream("fine", 1, 1), stream("odd", 1, 1, **changes))
    assert reason.startswith("stream odd: ")
    assert words in reason
    assert "fine" not in reason


def test_every_stream_that_cannot_be_served_is_named() -> None:
    reason = why(stream("x", 1, 1, itl_s=0.001), stream("y", 1, 1, model="other"))
    assert "stream x" in reason
    assert "stream y" in reason
