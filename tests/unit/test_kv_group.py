"""What a gateway may say about moving a KV cache, and what an engine takes of it."""

from typing import Any

import pytest

from app.config import Role
from app.errors import InternalError, ZoneMismatch
from deployments.kv_group import check_transfer, in_group, kv_group, new_engine_id

GROUP = kv_group("public", "halves")
OFFER: dict[str, Any] = {"do_remote_decode": True, "do_remote_prefill": False}
DEMAND: dict[str, Any] = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_engine_id": new_engine_id("public", "halves"),
    "remote_request_id": "a",
    "remote_host": "10.0.0.1",
    "remote_port": 5600,
    "remote_block_ids": [[1, 2]],
    "tp_size": 1,
    "pp_size": 2,
}


def test_engine_ids_tell_their_group() -> None:
    first, second = new_engine_id("public", "halves"), new_engine_id("public", "halves")
    assert first != second
    assert in_group(first, GROUP)
    assert not in_group(first, kv_group("public", "other"))
    assert not in_group(first, kv_group("private", "halves"))
    assert not in_group(GROUP, GROUP)


def test_each_side_takes_what_is_its_own() -> None:
    check_transfer(OFFER, Role.PREFILL, GROUP)
    check_transfer(DEMAND, Role.DECODE, GROUP)


@pytest.mark.parametrize("params", [OFFER, DEMAND, {}, "anything"])
def test_a_whole_engine_takes_none(params: Any) -> None:
    with pytest.raises(InternalError, match="not disaggregated"):
        check_transfer(params, Role.WHOLE, GROUP)


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_nothing_comes_from_another_group(role: Role) -> None:
    for zone, pool in (("private", "halves"), ("public", "other")):
        with pytest.raises(ZoneMismatch):
            check_transfer(DEMAND | {"remote_engine_id": new_engine_id(zone, pool)}, role, GROUP)


@pytest.mark.parametrize(
    ("role", "params"),
    [
        (Role.PREFILL, DEMAND),
        (Role.DECODE, OFFER),
        (Role.PREFILL, {}),
        (Role.DECODE, {}),
        (Role.PREFILL, OFFER | {"prompt_token_ids": [1]}),
        (Role.PREFILL, OFFER | {"do_remote_prefill": True}),
        (Role.DECODE, DEMAND | {"do_remote_decode": True}),
        (Role.DECODE, DEMAND | {"remote_port": "5600"}),
        (Role.DECODE, DEMAND | {"tp_size": None}),
        (Role.DECODE, [1]),
    ],
)
def test_other_shapes_are_refused(role: Role, params: Any) -> None:
    with pytest.raises(InternalError):
        check_transfer(params, role, GROUP)
