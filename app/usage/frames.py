"""How usage and audit events lie in a journal's file: length, CRC-32, kind, msgpack."""

import struct
import zlib
from collections.abc import Iterator

import msgspec

from app.admission.exchange import Settlement
from app.audit.events import AuditEvent

Record = Settlement | AuditEvent
"""What a journal holds."""

MAX_RECORD_BYTES = 1 << 20

_HEADER = struct.Struct("<II")
_SETTLEMENT, _EVENT = b"S", b"E"
_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[int, msgspec.msgpack.Decoder[Record]] = {
    _SETTLEMENT[0]: msgspec.msgpack.Decoder(Settlement),
    _EVENT[0]: msgspec.msgpack.Decoder(AuditEvent),
}


def frame(record: Record) -> bytes:
    """One record as it is written.

    Raises:
        ValueError: the record is longer than any that is made.
    """
    kind = _SETTLEMENT if isinstance(record, Settlement) else _EVENT
    payload = kind + _ENCODER.encode(record)
    if len(payload) > MAX_RECORD_BYTES:
        raise ValueError(f"a record of {len(payload)} bytes; the limit is {MAX_RECORD_BYTES}")
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def records(data: bytes) -> Iterator[tuple[Record, int]]:
    """The whole records at the front of a file, each with the offset of its end.

    Stops at the first frame that is cut off or damaged: what a process that died, or a machine
    that lost its power, was writing at that moment.
    """
    at = 0
    while len(data) - at > _HEADER.size:
        length, crc = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        end = start + length
        if not 0 < length <= MAX_RECORD_BYTES or end > len(data):
            return
        payload = memoryview(data)[start:end]
        decoder = _DECODERS.get(payload[0])
        if decoder is None or zlib.crc32(payload) != crc:
            return
        try:
            record = decoder.decode(payload[1:])
        except msgspec.MsgspecError:
            return
        yield record, end
        at = end
