"""The bounded buffer before a slow consumer."""

from __future__ import annotations

from aemos.realtime.outbox import Outbox


def test_below_the_limit_everything_stays_in_order():
    outbox = Outbox(100)
    for number in range(10):
        outbox.add(b"%d" % number, "same")
    assert outbox.take() == ([b"%d" % number for number in range(10)], 0)
    assert not outbox


def test_beyond_the_limit_the_newest_of_each_subject_survives_and_the_rest_is_counted():
    outbox = Outbox(12)
    for number in range(1, 9):
        outbox.add(b"a%02d" % number, "a")
        outbox.add(b"b%02d" % number, "b")
    frames, dropped = outbox.take()
    assert frames == [b"a08", b"b08"]
    assert dropped == 14


def test_too_many_subjects_lose_the_oldest():
    outbox = Outbox(9)
    for number in range(6):
        outbox.add(b"%03d" % number, f"subject-{number}")
    assert outbox.take() == ([b"003", b"004", b"005"], 3)


def test_answers_are_never_dropped_and_keep_their_place():
    outbox = Outbox(6)
    outbox.add(b"answer-1")
    for number in range(4):
        outbox.add(b"%03d" % number, "a")
    outbox.add(b"answer-2")
    outbox.add(b"zzz", "b")
    assert outbox.take() == ([b"answer-1", b"003", b"answer-2", b"zzz"], 3)


def test_size_stays_within_the_limit_and_after_emptying_all_is_kept_again():
    outbox = Outbox(50)
    for number in range(1000):
        outbox.add(b"%05d" % number, f"subject-{number % 7}")
        assert outbox.size <= 50
    outbox.take()
    outbox.add(b"1", "a")
    outbox.add(b"2", "a")
    assert outbox.take() == ([b"1", b"2"], 0)
