"""Reading a stream that is cut anywhere."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gateway.sse import SseScanner


def event(data: object) -> str:
    return "data: " + json.dumps(data, separators=(",", ":")) + "\n\n"


def token(text: str) -> str:
    return event({"choices": [{"index": 0, "text": text, "finish_reason": None}]})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
STREAM = (token("déjà") + token(" vu") + USAGE + "data: [DONE]\n\n").encode()


def feed_all(pieces: list[bytes]) -> tuple[SseScanner, list[int]]:
    scanner = SseScanner()
    return scanner, [scanner.feed(piece) for piece in pieces]


def test_one_piece() -> None:
    scanner, counts = feed_all([STREAM])
    assert counts == [2]
    assert scanner.done
    assert scanner.usage_tokens == 2
    assert scanner.error is None


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_cut_anywhere_gives_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(places)]
    scanner, counts = feed_all(pieces)
    assert sum(counts) == 2
    assert (scanner.done, scanner.usage_tokens) == (True, 2)


@given(st.integers(1, 7))
def test_line_ends_of_two_characters(size: int) -> None:
    stream = STREAM.replace(b"\n", b"\r\n")
    scanner, counts = feed_all([stream[i : i + size] for i in range(0, len(stream), size)])
    assert sum(counts) == 2
    assert scanner.done


def test_an_event_counts_in_the_piece_that_completes_it() -> None:
    cut = len(token("déjà").encode()) - 1
    _, counts = feed_all([STREAM[:cut], STREAM[cut : cut + 1], STREAM[cut + 1 :]])
    assert counts == [0, 1, 1]


def test_the_role_that_opens_a_chat_is_no_content() -> None:
    opening = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    first = event({"choices": [{"delta": {"content": "Hi"}}]})
    _, counts = feed_all([opening.encode(), first.encode()])
    assert counts == [0, 1]


def test_usage_may_come_with_the_last_choice() -> None:
    last = event({"choices": [{"text": "."}], "usage": {"completion_tokens": 9}})
    scanner, counts = feed_all([last.encode()])
    assert (counts, scanner.usage_tokens) == ([1], 9)


def test_comments_and_other_fields_are_passed_over() -> None:
    scanner, counts = feed_all([b": ping\n\nevent: x\nid: 1\n\n", token("a").encode()])
    assert counts == [0, 1]
    assert scanner.error is None


def test_an_error_in_the_stream_is_kept() -> None:
    scanner, counts = feed_all([event({"error": {"code": "engine_lost"}}).encode()])
    assert counts == [0]
    assert scanner.error is not None
    assert "engine_lost" in scanner.error
