"""vLLM's NixlPushConnector, kept within one group of engines and made to end what has failed.

vLLM 0.32 leaves five things open that a long-lived service cannot. A decode engine whose prefill
engine died waits for ever, and keeps the blocks for ever. So does one of whose ranks one is told of
a write before it has heard of the request. A prefill engine frees the blocks of a lease that lapses
in the middle of a write. A registration that arrives after its lease stays for ever. And the side
channel's listener hangs the engine if its port is taken.

The module has no name of its own for the class: vLLM looks connectors up by name in some checks.
"""

import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from hashlib import sha256
from typing import Any

import msgspec
import structlog
import zmq
from vllm.config import VllmConfig
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole
from vllm.distributed.kv_transfer.kv_connector.v1.nixl.connector import (
    NixlPushConnector as VllmNixlPushConnector,
)
from vllm.distributed.kv_transfer.kv_connector.v1.nixl.metadata import GET_META_MSG
from vllm.distributed.kv_transfer.kv_connector.v1.nixl.push_scheduler import (
    NixlPushConnectorScheduler,
)
from vllm.distributed.kv_transfer.kv_connector.v1.nixl.push_worker import NixlPushConnectorWorker
from vllm.platforms import current_platform

from deployments.kv_group import GROUP_KEY, HOST_KEY, RECEIVE_KEY, in_group
from deployments.messages import KvPeer
from deployments.patience import patient_progress

POLL_MS = 200
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
WRITE_EXTENSION_S = 1.0
MAX_LAPSED = 4096
HEARTBEAT = b"HB:"

log = structlog.get_logger(__name__)


class PushScheduler(NixlPushConnectorScheduler):
    """The side in the engine core's process: it plans, and answers handshakes."""

    _nixl_handshake_listener_t: threading.Thread | None

    def __init__(self, vllm_config: VllmConfig, engine_id: str, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, engine_id, kv_cache_config)
        self.side_channel_host = _extra(vllm_config)[HOST_KEY]
        self.side_channel_port = 0
        # vLLM rounds down, to a heartbeat in every step for leases of less than six seconds.
        self._heartbeat_interval = self._kv_lease_duration / 6

    def get_num_new_matched_tokens(
        self, request: Any, num_computed_tokens: int
    ) -> tuple[int, bool]:
        """Tokens to wait for: a resumed request has output among them, which vLLM leaves out."""
        params = request.kv_transfer_params
        if not params or not params.get("do_remote_prefill"):
            return 0, False
        count = self._get_remote_prefill_token_count(request.num_tokens) - num_computed_tokens
        return (count, True) if count > 0 else (0, False)

    def set_xfer_handshake_metadata(self, metadata: dict[tuple[int, int], Any]) -> None:
        """Listens for handshakes on a free port.

        Raises:
            OSError: the address is not one of this node.
        """
        if self._nixl_handshake_listener_t is not None:
            return
        encoder = msgspec.msgpack.Encoder()
        answers = {ranks: encoder.encode(payload) for ranks, payload in metadata.items()}
        context = zmq.Context()
        try:
            channel = context.socket(zmq.ROUTER)
            self.side_channel_port = channel.bind_to_random_port(f"tcp://{self.side_channel_host}")
        except zmq.ZMQError as error:
            context.destroy(linger=0)
            raise OSError(
                f"the side channel cannot listen on {self.side_channel_host!r}: {error}"
            ) from error
        listener = threading.Thread(
            target=self._listen, args=(context, channel, answers), name="kv-handshakes", daemon=True
        )
        listener.start()
        self._nixl_handshake_listener_t = listener

    def _listen(self, context: Any, channel: Any, answers: dict[tuple[int, int], bytes]) -> None:
        try:
            while not self._stop_event.is_set():
                if not channel.poll(POLL_MS):
                    continue
                identity, *_, message = channel.recv_multipart()
                answer = answers.get(_asked(message))
                if answer is None:
                    continue  # not one of ours; who waits for an answer gives up by itself
                now = msgspec.msgpack.encode(time.perf_counter())
                channel.send_multipart((identity, b"", answer, now))
        except zmq.ZMQError as error:
            log.warning("the side channel has ended", error=str(error))
        finally:
            context.destroy(linger=0)


class PushWorker(NixlPushConnectorWorker):
    """The side in a rank's process: it moves KV caches."""

    compat_hash: str | None

    def __init__(self, vllm_config: VllmConfig, engine_id: str, kv_cache_config: Any) -> None:
        with patient_progress():
            super().__init__(vllm_config, engine_id, kv_cache_config)
        extra = _extra(vllm_config)
        self._group: str = extra[GROUP_KEY]
        self._receive_s: float = extra[RECEIVE_KEY]
        self._lease_s: float = extra["kv_lease_duration"]
        self._lease_extension = self._lease_s * 2 / 3
        self._receiving_since: dict[str, float] = {}
        self._registered_at: dict[str, float] = {}
        self._early: list[tuple[float, bytes]] = []
        # Held where a write starts and where leases end, so that no block is freed in between.
        self._writes = threading.RLock()
        self._lapsed: OrderedDict[str, None] = OrderedDict()
        self._warm: set[str] = set()
        self._failures: dict[str, tuple[int, float]] = {}

    def register_kv_caches(self, kv_caches: dict[str, Any]) -> None:
        """As vLLM does, on all cores, and binding handshakes to the group."""
        on_cpu = current_platform.is_cpu()
        cores = os.sched_getaffinity(0) if on_cpu else set()
        super().register_kv_caches(kv_caches)
        if on_cpu:
            # vLLM pins this thread, which computes, too, to the last core of each socket.
            os.sched_setaffinity(0, cores)
        payload = self.xfer_handshake_metadata
        assert payload is not None
        bound = sha256(f"{self._group}\0{self.compat_hash}".encode()).hexdigest()
        self.compat_hash = payload.compatibility_hash = bound

    # Receiving.

    def start_load_kv(self, metadata: Any) -> None:
        """Takes a step's transfers over."""
        # Without blocks nothing comes, and nobody would take the entry out again.
        metadata.reqs_to_recv = {
            request_id: meta
            for request_id, meta in metadata.reqs_to_recv.items()
            if any(meta.local_block_ids)
        }
        now = time.monotonic()
        for request_id in metadata.reqs_to_recv:
            self._receiving_since[request_id] = now
        super().start_load_kv(metadata)

    def get_transfer_results(self) -> Any:
        """What has ended since the last step, receives that can no longer happen among it."""
        now = time.monotonic()
        for request_id, since in list(self._receiving_since.items()):
            if request_id not in self._recving_metadata:
                del self._receiving_since[request_id]
            elif now - since > self._receive_s:
                del self._receiving_since[request_id]
                self.consumer_notification_counts_by_req.pop(request_id, None)
                self._failed_recv_reqs.put(request_id)
        return super().get_transfer_results()

    def _get_new_notifs(self) -> set[str]:
        # Ranks are not in step: what another one has registered may be written, and its end told,
        # before this rank hears of the request. vLLM drops that, and the request waits for ever.
        now, told = time.monotonic(), self._early
        self._early = []
        while not self._pending_completion_notifs.empty():
            told.append((now, self._pending_completion_notifs.get_nowait()))
        for since, notif in told:
            if self._expects(notif):
                self._pending_completion_notifs.put(notif)
            elif now - since < self._receive_s:
                self._early.append((since, notif))
        ended: set[str] = super()._get_new_notifs()
        return ended

    def _expects(self, notif: bytes) -> bool:
        if notif.startswith(HEARTBEAT):
            return True
        request_id = notif.decode().rpartition(":")[0]
        return any(
            request_id in known
            for known in (self._recving_metadata, self._reqs_to_send, self._reqs_to_process)
        )

    def _do_send_reg_notif(self, req_id: str, reg_data: dict[str, Any]) -> None:
        with self._writes:
            super()._do_send_reg_notif(req_id, reg_data)

    # Sending.

    def _handle_push_reg_notif(self, notif: bytes) -> None:
        super()._handle_push_reg_notif(notif)
        # Every rank of a decode engine registers, and one of them is enough: the others' stay.
        now = time.monotonic()
        for request_id in self._pending_d_registrations:
            self._registered_at.setdefault(request_id, now)
        for request_id, since in list(self._registered_at.items()):
            if now - since > self._lease_s:
                self._pending_d_registrations.pop(request_id, None)
            if request_id not in self._pending_d_registrations:
                del self._registered_at[request_id]

    def _pop_matching_registration(self, request_id: str) -> dict[str, Any] | None:
        # By the whole id. vLLM's does without its random end, and what is left may be a client's
        # choice: another tenant's request could be taken for this one.
        return self._pending_d_registrations.pop(request_id, None)

    def _pop_matching_finished_blocks(self, request_id: str) -> tuple[str, Any] | None:
        blocks = self._push_finished_blocks.pop(request_id, None)
        return None if blocks is None else (request_id, blocks)

    def _do_start_push_kv(
        self, request_id: str, local_block_ids: Any, registration_data: dict[str, Any]
    ) -> None:
        target = registration_data.get("decode_engine_id")
        if not isinstance(target, str) or not in_group(target, self._group):
            log.error("a KV cache was asked for by another group", group=self._group)
            return
        with self._writes:
            # Its blocks may be another request's by now.
            if request_id not in self._lapsed:
                super()._do_start_push_kv(request_id, local_block_ids, registration_data)

    def _reap_expired_send_leases(self, done_sending: set[str]) -> None:
        if not self._reqs_to_send:
            return
        with self._writes:
            now = time.perf_counter()
            with self._sending_transfers_lock:
                for request_id in self._sending_transfers.keys() & self._reqs_to_send.keys():
                    if self._reqs_to_send[request_id] <= now:
                        self._reqs_to_send[request_id] = now + WRITE_EXTENSION_S
            before = set(self._reqs_to_send)
            super()._reap_expired_send_leases(done_sending)
            self._lapsed.update(dict.fromkeys(before - self._reqs_to_send.keys()))
            while len(self._lapsed) > MAX_LAPSED:
                self._lapsed.popitem(last=False)

    # Handshakes.

    def warm(self, peers: list[KvPeer]) -> list[str]:
        """Shakes hands with these engines in the background, and forgets all others.

        Returns:
            Ids of those with which it is done.
        """
        wanted = {peer.engine_id: peer for peer in peers if in_group(peer.engine_id, self._group)}
        for engine_id in list(self._remote_agents):
            if engine_id not in wanted:
                self._forget(engine_id)
        self._failures = {key: value for key, value in self._failures.items() if key in wanted}
        for peer in wanted.values():
            if time.monotonic() >= self._failures.get(peer.engine_id, (0, 0.0))[1]:
                self._greet(peer)
        return sorted(self._warm & wanted.keys())

    def _greet(self, peer: KvPeer) -> None:
        engine_id = peer.engine_id
        if engine_id in self._warm and engine_id in self._remote_agents:
            return
        receives = self.kv_transfer_config.is_kv_consumer
        pending = self._ensure_handshake(
            engine_id,
            peer.host,
            peer.port,
            peer.tensor_parallel_size,
            pp_size=peer.pipeline_parallel_size if receives else 1,
            notif_agents_only=receives,
        )
        if pending is not None:
            pending.add_done_callback(lambda done: self._greeted(engine_id, done))
            return
        # A heartbeat for no request: what connects the two lazily does so now.
        for agent in list(self._remote_agents[engine_id].values()):
            try:
                self.nixl_wrapper.send_notif(agent, notif_msg=HEARTBEAT)
            except Exception as error:  # noqa: BLE001 - NIXL has errors of its own
                log.warning("an engine does not answer", engine=engine_id, error=str(error))
                self._failed(engine_id)
                return
        self._warm.add(engine_id)
        self._failures.pop(engine_id, None)

    def _greeted(self, engine_id: str, done: Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._failed(engine_id)

    def _failed(self, engine_id: str) -> None:
        count = self._failures.get(engine_id, (0, 0.0))[0]
        wait = min(LAST_RETRY_S, FIRST_RETRY_S * 2**count)
        self._failures[engine_id] = (count + 1, time.monotonic() + wait)

    def _forget(self, engine_id: str) -> None:
        with self._writes:
            busy = engine_id in self._handshake_futures or any(
                meta.remote is not None and meta.remote.engine_id == engine_id
                for meta in self._recving_metadata.values()
            )
            if not busy and not self._sending_transfers and engine_id in self._remote_agents:
                self._warm.discard(engine_id)
                self._cleanup_remote_engine(engine_id)


class NixlPushConnector(VllmNixlPushConnector):
    """The connector that engines of disaggregated pools are configured with."""

    def __init__(
        self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: Any
    ) -> None:
        # Past vLLM's own constructor, which would make the halves that these replace.
        super(VllmNixlPushConnector, self).__init__(vllm_config, role, kv_cache_config)
        self.connector_scheduler = self.connector_worker = None
        if role == KVConnectorRole.SCHEDULER:
            self.connector_scheduler = PushScheduler(vllm_config, self.engine_id, kv_cache_config)
        else:
            self.connector_worker = PushWorker(vllm_config, self.engine_id, kv_cache_config)

    def reset_cache(self) -> bool:
        """Whether nothing is kept of earlier requests: the connector has no cache of its own."""
        return True


def _extra(vllm_config: VllmConfig) -> dict[str, Any]:
    extra: dict[str, Any] = vllm_config.kv_transfer_config.kv_connector_extra_config
    return extra


def _asked(message: bytes) -> tuple[int, int]:
    try:
        word, pipeline, tensor = msgspec.msgpack.decode(message, type=tuple[bytes, int, int])
    except msgspec.MsgspecError:
        return -1, -1
    return (pipeline, tensor) if word == GET_META_MSG else (-1, -1)
