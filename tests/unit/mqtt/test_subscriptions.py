"""The trees agree with the definition of matching, whatever was added and removed before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aemos.mqtt.publication import Publication
from aemos.mqtt.subscriptions import RetainedMessages, Subscriptions
from aemos.topics import InvalidTopic, check_filter, check_name, matches


def valid(check: object, text: str) -> bool:
    try:
        check(text)  # type: ignore[operator]
    except InvalidTopic:
        return False
    return True


levels = st.sampled_from(["a", "b", "", "$s"])
names = (
    st.lists(levels, min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda text: valid(check_name, text))
)
filters = (
    st.lists(st.one_of(levels, st.just("+"), st.just("#")), min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda text: valid(check_filter, text))
)
holders = st.integers(0, 3)
changes = st.lists(
    st.tuples(st.booleans(), filters, holders, st.integers(0, 2), names), max_size=30
)


@given(changes)
def test_match_gives_each_holder_once_at_its_highest_qos(
    steps: list[tuple[bool, str, int, int, str]],
) -> None:
    tree: Subscriptions[int] = Subscriptions(cache_size=3)
    held: dict[tuple[str, int], int] = {}
    for add, filter, holder, qos, topic in steps:
        if add:
            tree.add(filter, holder, qos)
            held[filter, holder] = qos
        else:
            assert tree.remove(filter, holder) == (held.pop((filter, holder), None) is not None)
        expected: dict[int, int] = {}
        for (wanted, who), granted in held.items():
            if matches(wanted, topic):
                expected[who] = max(granted, expected.get(who, 0))
        # Twice: from the tree and from what is remembered.
        assert dict(tree.match(topic)) == expected
        assert dict(tree.match(topic)) == expected
        assert tree.count == len(held)


def test_empty_branches_are_cut_off() -> None:
    tree: Subscriptions[str] = Subscriptions()
    tree.add("a/b/c", "x", 0)
    tree.add("a/+/c", "x", 0)
    tree.add("a", "x", 0)
    for filter in ("a/b/c", "a/+/c", "a"):
        assert tree.remove(filter, "x")
    assert not tree._root.children


def test_remembered_topics_are_bounded() -> None:
    tree: Subscriptions[str] = Subscriptions(cache_size=10)
    for number in range(100):
        tree.match(f"t/{number}")
        assert len(tree._cache) <= 10
    tree.match("t" * 2000)
    assert "t" * 2000 not in tree._cache


def test_below_finds_the_holders_under_a_literal_prefix() -> None:
    tree: Subscriptions[str] = Subscriptions()
    for filter, holder in [
        ("devices/u/#", "all"),
        ("devices/u/state", "state"),
        ("devices/u", "itself"),
        ("devices/+/state", "wild"),
        ("devices/uu/state", "other"),
    ]:
        tree.add(filter, holder, 0)
    assert tree.below(("devices", "u")) == {"all", "state", "itself"}
    assert tree.below(("devices", "v")) == set()


@given(st.lists(st.tuples(names, st.booleans()), max_size=20), filters)
def test_retained_topics_are_those_that_the_filter_matches(
    steps: list[tuple[str, bool]], filter: str
) -> None:
    tree = RetainedMessages(1000)
    kept: set[str] = set()
    for topic, keep in steps:
        tree.store(Publication(topic, b"x" if keep else b"", 0))
        (kept.add if keep else kept.discard)(topic)
    found = tree.topics(filter)
    assert sorted(found) == sorted(topic for topic in kept if matches(filter, topic))
    assert len(tree) == len(kept)
    for topic in kept:
        tree.store(Publication(topic, b"", 0))
    assert not tree._root.children


def test_limit_keeps_new_topics_out_and_lets_known_ones_change() -> None:
    tree = RetainedMessages(1)
    assert tree.store(Publication("a", b"1", 0))
    assert not tree.store(Publication("b", b"1", 0))
    assert tree.store(Publication("a", b"2", 0))
    message = tree.get("a")
    assert message is not None
    assert message.payload == b"2"
    assert tree.topics("#") == ["a"]
