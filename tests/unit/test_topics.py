"""Topic names and filters: validity, matching, covering."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aemos.topics import InvalidTopic, check_filter, check_name, covers, has_wildcard, matches

MATCHING = [
    ("a/#", "a"),
    ("a/#", "a/"),
    ("a/#", "a/b"),
    ("a/#", "a//c"),
    ("+/+", "a/b"),
    ("+/+", "/x"),
    ("+/+", "a/"),
    ("+", "a"),
    ("/+", "/a"),
    ("/+", "/"),
    ("a/+/c/#", "a/b/c"),
    ("a/+/c/#", "a//c"),
    ("a/+/c/#", "a/b/c/d"),
    ("#", "/"),
    ("#", "a/b/c"),
    ("$SYS/+", "$SYS/x"),
    ("$SYS/#", "$SYS"),
    ("+/#", "a"),
    ("a/b", "a/b"),
]

NOT_MATCHING = [
    ("a/#", "ab"),
    ("a/#", "b/a"),
    ("+/+", "a"),
    ("+/+", "a/b/c"),
    ("+/+", "$S/x"),
    ("+", "/a"),
    ("+", "a/"),
    ("+", "$a"),
    ("/+", "a"),
    ("/+", "//a"),
    ("a/+/c/#", "a/c"),
    ("#", "$SYS/x"),
    ("+/#", "$SYS/x"),
    ("$SYS/+", "$SYS/x/y"),
    ("$SYS/+", "$SYS"),
    ("a/b", "a//b"),
    ("A", "a"),
    ("\u00e9", "e\u0301"),
    ("a/+", "a"),
]


@pytest.mark.parametrize(("filter", "topic"), MATCHING)
def test_filter_matches(filter: str, topic: str) -> None:
    assert matches(filter, topic)


@pytest.mark.parametrize(("filter", "topic"), NOT_MATCHING)
def test_filter_does_not_match(filter: str, topic: str) -> None:
    assert not matches(filter, topic)


@pytest.mark.parametrize(
    ("topic", "clause"),
    [
        ("", "MQTT-4.7.3-1"),
        ("a/+", "MQTT-3.3.2-2"),
        ("#", "MQTT-3.3.2-2"),
        ("a+b", "MQTT-3.3.2-2"),
        ("a\0", "MQTT-4.7.3-2"),
        ("\u20ac" * 21846, "MQTT-4.7.3-3"),
        ("/" * 256, "MQTT-4.7.3"),
    ],
)
def test_what_is_not_a_topic_name_is_refused_with_its_clause(topic: str, clause: str) -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_name(topic)
    assert caught.value.clause == clause


@pytest.mark.parametrize(
    ("filter", "clause"),
    [
        ("", "MQTT-4.7.3-1"),
        ("a#", "MQTT-4.7.1-2"),
        ("#/a", "MQTT-4.7.1-2"),
        ("a/#/b", "MQTT-4.7.1-2"),
        ("a/##", "MQTT-4.7.1-2"),
        ("a+", "MQTT-4.7.1-3"),
        ("a/+b", "MQTT-4.7.1-3"),
        ("+a/b", "MQTT-4.7.1-3"),
        ("a\0/#", "MQTT-4.7.3-2"),
        ("a" * 65536, "MQTT-4.7.3-3"),
        ("+/" * 256, "MQTT-4.7.3"),
    ],
)
def test_what_is_not_a_filter_is_refused_with_its_clause(filter: str, clause: str) -> None:
    with pytest.raises(InvalidTopic) as caught:
        check_filter(filter)
    assert caught.value.clause == clause


@pytest.mark.parametrize(
    "topic", ["a", "/", "//", "a" * 65535, "/" * 255, "$SYS/x", "\ufeffa", " "]
)
def test_any_other_text_is_a_topic_name_and_a_filter(topic: str) -> None:
    check_name(topic)
    check_filter(topic)


@pytest.mark.parametrize("filter", ["#", "+", "a/#", "+/+/#", "/+/", "+/b/#", "$SYS/#"])
def test_wildcards_in_their_places_are_accepted(filter: str) -> None:
    check_filter(filter)
    assert has_wildcard(filter)


@pytest.mark.parametrize(
    ("allowed", "filter"),
    [
        ("#", "#"),
        ("#", "a/+/c"),
        ("+/#", "#"),
        ("a/#", "a"),
        ("a/#", "a/+/#"),
        ("a/+", "a/b"),
        ("a/+", "a/+"),
        ("+/+", "a/+"),
        ("$SYS/#", "$SYS/+"),
        ("devices/u/#", "devices/u/+"),
        ("devices/u/#", "devices/u/datastream"),
    ],
)
def test_covering_filter_is_recognised(allowed: str, filter: str) -> None:
    assert covers(allowed, filter)


@pytest.mark.parametrize(
    ("allowed", "filter"),
    [
        ("#", "$SYS/x"),
        ("+/x", "$SYS/x"),
        ("a/+", "a/#"),
        ("a/+/#", "a/#"),
        ("a/b", "a/+"),
        ("a", "#"),
        ("a/#", "#"),
        ("a/#", "+"),
        ("a/#", "+/b"),
        ("+", "#"),
        ("devices/u/#", "devices/+/datastream"),
        ("devices/u/#", "devices/#"),
        ("devices/u/#", "devices/uu/x"),
        ("a/b/c", "a/b"),
        ("a/b", "a/b/c"),
    ],
)
def test_filter_that_reaches_further_is_not_covered(allowed: str, filter: str) -> None:
    assert not covers(allowed, filter)


levels = st.sampled_from(["a", "b", "", "$s"])
names = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.builds(
    lambda parts, tail: "/".join(parts + tail),
    st.lists(st.one_of(levels, st.just("+")), min_size=0, max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


def reference(filter: str, topic: str) -> bool:
    """Section 4.7 written down once more, recursively."""

    def walk(wanted: list[str], got: list[str]) -> bool:
        if wanted == ["#"]:
            return True
        if not wanted or not got:
            return not wanted and not got
        return wanted[0] in ("+", got[0]) and walk(wanted[1:], got[1:])

    hidden = topic.startswith("$") and filter[0] in "+#"
    return not hidden and walk(filter.split("/"), topic.split("/"))


@given(filters, names)
def test_matching_agrees_with_the_definition(filter: str, topic: str) -> None:
    assert matches(filter, topic) == reference(filter, topic)


@given(filters, filters)
def test_covers_means_that_no_topic_slips_through(allowed: str, filter: str) -> None:
    # Letters beyond those of the filters stand for "any other level".
    alphabet = ["a", "b", "", "$s", "z"]
    topics: list[list[str]] = [[]]
    found = []
    for _ in range(5):
        topics = [[*topic, level] for topic in topics for level in alphabet]
        found += ["/".join(topic) for topic in topics if topic != [""]]
        if len(found) > 800:
            break
    slipped = [t for t in found if matches(filter, t) and not matches(allowed, t)]
    if covers(allowed, filter):
        assert not slipped
    elif filter.count("/") < 3 and allowed.count("/") < 3:
        assert slipped
