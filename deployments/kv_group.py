"""Between which engines KV caches may move: those of one pool, which is of one zone.

The names here are what a gateway is checked against; that an engine is what its name says is proved
in the handshake of the two engines, see `deployments/kv_connector.py`.
"""

import uuid
from typing import Any

import msgspec

from app.config import Role
from app.errors import InternalError, ZoneMismatch

HOST_KEY, GROUP_KEY = "tidegate_host", "tidegate_group"
RECEIVE_KEY = "tidegate_receive_s"
"""Keys in the connector's extra configuration: the address to listen on, the group, and the seconds
after which a receive that was given up has certainly come to nothing."""


class _Offer(msgspec.Struct, forbid_unknown_fields=True):
    """What a prefill engine is told: keep the KV cache for whoever comes for it."""

    do_remote_decode: bool
    do_remote_prefill: bool = False
    remote_engine_id: None = None
    remote_block_ids: None = None
    remote_host: None = None
    remote_port: None = None


class _Demand(msgspec.Struct, forbid_unknown_fields=True):
    """What a decode engine is told: where the KV cache is. Made by the prefill engine."""

    do_remote_prefill: bool
    remote_engine_id: str
    remote_request_id: str
    remote_host: str
    remote_port: int
    tp_size: int
    remote_block_ids: list[list[int]]
    pp_size: int = 1
    dcp_size: int = 1
    do_remote_decode: bool = False
    remote_num_tokens: int = 0
    transfer_mode: str = "push"
    remote_prefill_cached_tokens: int = 0


def kv_group(zone: str, pool: str) -> str:
    """The name of the engines that may move KV caches to each other."""
    return f"{zone}--{pool}"


def new_engine_id(zone: str, pool: str) -> str:
    """A connector's engine id that nobody has had."""
    return f"{kv_group(zone, pool)}--{uuid.uuid4().hex}"


def in_group(engine_id: str, group: str) -> bool:
    """Whether an engine id is one of this group's."""
    return engine_id.rpartition("--")[0] == group


def check_transfer(params: Any, role: Role, group: str) -> None:
    """Looks at what a gateway says about moving a KV cache.

    Args:
        params: the `kv_transfer_params` of a request, from outside.
        role: what this engine does of a request.
        group: the group that this engine is in.

    Raises:
        ZoneMismatch: the KV cache would come from an engine of another group.
        InternalError: the engine of this role must not be told such a thing.
    """
    if role is Role.WHOLE:
        raise InternalError("a KV cache is to be moved, but this pool is not disaggregated")
    if not isinstance(params, dict):
        raise InternalError("`kv_transfer_params` is not a mapping")
    remote = params.get("remote_engine_id")
    if isinstance(remote, str) and not in_group(remote, group):
        raise ZoneMismatch(f"an engine of {group!r} takes no KV cache from {remote!r}")
    try:
        if role is Role.PREFILL:
            offer = msgspec.convert(params, _Offer)
            fits = offer.do_remote_decode and not offer.do_remote_prefill
        else:
            demand = msgspec.convert(params, _Demand)
            fits = demand.do_remote_prefill and not demand.do_remote_decode
    except msgspec.ValidationError as error:
        raise InternalError(f"`kv_transfer_params` do not suit a {role} engine: {error}") from None
    if not fits:
        raise InternalError(f"`kv_transfer_params` do not suit a {role} engine")
