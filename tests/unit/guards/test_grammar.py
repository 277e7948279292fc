"""Nodes: the beginning of a pattern matches every beginning of whatever the whole matches."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from app.guards.grammar import NOTHING, Chars, Either, Node, Repeat, Seq, Word

_leaves = st.one_of(
    st.builds(
        lambda of, least, more: Chars(of, least, least + more),
        st.sampled_from(["a", "ab", "^a", "0-9"]),
        st.integers(0, 2),
        st.integers(1, 2),
    ),
    st.builds(Word, st.sampled_from(["a", "ab", "a.b"]), st.booleans()),
)
nodes: st.SearchStrategy[Node] = st.recursive(
    _leaves,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3).map(lambda each: Seq(*each)),
        st.lists(parts, min_size=1, max_size=3).map(lambda each: Either(*each)),
        st.builds(
            lambda part, least, more: Repeat(part, least, least + more),
            parts,
            st.integers(0, 1),
            st.integers(1, 2),
        ),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(nodes, st.data())
def test_every_beginning_of_a_match_is_one(node: Node, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(re.compile(node.whole()), fullmatch=True))
    assert len(text) <= node.longest
    beginning = re.compile(node.beginning())
    for end in range(len(text) + 1):
        assert beginning.fullmatch(text[:end])


def test_what_is_no_beginning_does_not_match() -> None:
    node = Seq(Word("key="), Chars("0-9", 2, 4), Repeat(Word("!")))
    beginning = re.compile(node.beginning())
    assert all(beginning.fullmatch(text) for text in ("", "k", "KEY", "key=1", "key=1234!"))
    assert not any(beginning.fullmatch(text) for text in ("e", "key1", "key=12345", "key=1!"))


def test_nothing_is_as_long_as_nothing() -> None:
    assert NOTHING.longest == 0
    assert re.compile(NOTHING.whole()).fullmatch("")
