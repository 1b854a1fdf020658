"""What clients of Socket.IO say and hear, packet by packet."""

from __future__ import annotations

import json

import pytest
from twisted.logger import capturedLogs, formatEvent

from aemos.errors import StorageUnavailable
from aemos.model import Instant, Principal, PrincipalKind
from aemos.realtime.engineio import decode
from aemos.services.events import UserChanged, UserWelcomed
from tests.unit.realtime.socketio_stage import SocketIoWorld
from tests.unit.realtime.stage import NOON, changed_state, reading, user


def names(events):
    return [name for name, _ in events]


def values(packets):
    return [json.loads(packet[2:])[1]["dataStream"]["value"] for packet in packets]


def come_back(world, wire):
    """@return: a client with the private id of `wire`, and the values that it has missed."""
    again = world.wire()
    auth = {"token": "ada", "pid": wire.answer["pid"]}
    _, answer, *missed = again.say(f"40{json.dumps(auth)}")
    again.answer = json.loads(answer[2:])
    return again, values(missed)


# Entering


def test_the_handshake_tells_times_and_limits():
    [packet] = SocketIoWorld(ping_interval_ms=2000).wire("polling").hear()
    told = json.loads(packet[1:])
    assert packet[0] == "0"
    assert len(told.pop("sid")) == 20
    assert told == {
        "upgrades": ["websocket"],
        "pingInterval": 2000,
        "pingTimeout": 5000,
        "maxPayload": 1_000_000,
    }


def test_a_socket_has_an_id_that_differs_from_the_engines():
    wire = SocketIoWorld().client()
    assert len(wire.answer["sid"]) == 20
    assert wire.answer["sid"] != wire.session.sid


def test_an_unknown_namespace_is_refused_and_the_connection_goes_on():
    wire = SocketIoWorld().client()
    assert wire.say("40/admin,") == ['44/admin,{"message":"Invalid namespace"}']
    assert not wire.ended


def test_the_path_of_the_api_is_an_alias_of_the_main_namespace():
    world = SocketIoWorld()
    wire = world.wire()
    wire.enter("ada", namespace="/api/v1")
    assert wire.say('42/api/v1,["join","telemetry-1"]') == []
    world.store(reading(1))
    [packet] = wire.hear()
    assert packet.startswith('42/api/v1,["new-datastream",{"dataStream":{"id":100,')


def test_a_bad_token_is_refused_and_no_token_is_not():
    world = SocketIoWorld()
    [_, refused] = world.wire().say('40{"token":"forged"}')
    assert json.loads(refused[2:]) == {
        "message": "the token is not valid",
        "data": {"code": "unauthenticated"},
    }
    [_, accepted] = world.wire().say('40{"token":""}')
    assert accepted.startswith("40{")
    [_, refused] = world.wire().say('40{"token":7}')
    assert refused.startswith("44{")


def test_a_refused_client_may_try_again_with_a_better_token():
    wire = SocketIoWorld().wire()
    wire.say('40{"token":"forged"}')
    wire.enter("ada")


def test_while_the_database_is_away_the_transport_closes_so_that_the_client_comes_back():
    world = SocketIoWorld()
    world.tokens.fault = StorageUnavailable("the database is away")
    wire = world.wire()
    assert len(wire.say('40{"token":"ada"}')) == 1  # the handshake, no refusal
    assert wire.ended


def test_whoever_enters_no_namespace_is_closed_after_45_seconds():
    world = SocketIoWorld()
    wire, refused, entered = world.wire(), world.wire(), world.client()
    refused.say("40/admin,")
    for _ in range(9):
        world.clock.advance(4.99)
        for each in (wire, refused, entered):
            each.say("3")
    assert not wire.ended
    world.clock.advance(0.1)
    assert (wire.ended, refused.ended, entered.ended) == (True, True, False)


@pytest.mark.parametrize(
    "packet",
    ["40", '42/admin,["join","x"]', "4", "49", "42{}", '44"no"', '451-["x"]\x1e', "2"],
)
def test_who_breaks_the_protocol_is_closed(packet):
    wire = SocketIoWorld().client()
    wire.say(packet)
    assert wire.ended


def test_nothing_is_said_in_a_namespace_before_it_is_entered():
    wire = SocketIoWorld().wire()
    wire.say('42["join","telemetry-1"]')
    assert wire.ended


def test_binary_events_are_taken_and_passed_over():
    wire = SocketIoWorld().client()
    assert wire.say('451-["x",{"_placeholder":true,"num":0}]') == []
    assert wire.say_binary(b"abc") == []
    wire.say_binary(b"abc")
    assert wire.ended


# Rooms


def test_join_takes_a_text_or_a_list_and_ignores_all_else():
    world = SocketIoWorld()
    wire = world.client("ada")
    for argument in ('"telemetry-1"', '["telemetry-2",7,null]', "7", "null", "{}", "true"):
        assert wire.say(f'42["join",{argument}]') == []
    assert wire.say('42["join"]') == []
    assert world.door.hub.rooms == 3  # with the one of everybody


def test_leave_takes_a_text_or_a_list():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1", "telemetry-2", "device-uuid-s-1")
    wire.say('42["leave","telemetry-1"]')
    wire.say('42["leave",["telemetry-2","telemetry-404"]]')
    world.store(reading(1), reading(2), uuid="another")
    assert wire.events() == []
    world.store(reading(3))
    assert names(wire.events()) == ["new-datastream"]


def test_an_acknowledgement_that_is_asked_for_says_what_was_joined():
    wire = SocketIoWorld().client("ada")
    assert wire.say('4217["join",["telemetry-1","telemetry-9"]]') == [
        '4317[{"rooms":["telemetry-1"],"refused":["telemetry-9"]}]'
    ]
    assert wire.say('4218["leave","telemetry-1"]') == ['4318[{"rooms":["telemetry-1"]}]']


def test_unknown_events_are_ignored():
    wire = SocketIoWorld().client("ada")
    assert wire.say('421["send-telemetry",{"room":"telemetry-1","data":{}}]') == []
    assert wire.say("42[7]") == []
    assert not wire.ended


def test_joins_are_answered_in_order_and_the_client_waits_meanwhile():
    world = SocketIoWorld()
    wire = world.client("ada")
    world.rights.held = []
    assert wire.say('421["join","telemetry-1"]') == []
    assert wire.say('422["leave","telemetry-1"]') == []
    assert not wire.reading
    world.rights.release()
    assert [packet[:3] for packet in wire.hear()] == ["431", "432"]
    assert wire.reading
    world.store(reading(1))
    assert wire.events() == []


def test_a_client_that_is_let_wait_is_not_dropped_for_its_silence():
    world = SocketIoWorld()
    wire = world.client("ada")
    world.rights.held = []
    wire.say('42["join","telemetry-1"]')
    world.clock.pump([5] * 10)
    assert not wire.ended
    world.rights.release()
    world.clock.pump([5] * 2)
    assert wire.ended


def test_tenants_do_not_hear_each_other():
    world = SocketIoWorld()
    ada, bob = world.client("ada"), world.client("bob")
    ada.join("telemetry-1", "telemetry-9", "device-uuid-s-9")
    bob.join("telemetry-1", "telemetry-9")
    world.store(reading(1))
    world.store(reading(9), uuid="s-9", organization=20)
    assert [data["dataStream"]["telemetryDataId"] for _, data in ada.events()] == [1]
    assert [data["dataStream"]["telemetryDataId"] for _, data in bob.events()] == [9]


def test_clients_without_a_token_join_telemetry_of_listed_organizations_only():
    world = SocketIoWorld(anonymous=("20",))
    wire = world.client()
    wire.join("telemetry-1", "telemetry-9", "device-uuid-s-9")
    world.store(reading(1))
    world.store(reading(9), uuid="s-9", organization=20)
    assert [data["dataStream"]["telemetryDataId"] for _, data in wire.events()] == [9]


def test_without_such_organizations_a_client_without_a_token_joins_nothing():
    world = SocketIoWorld()
    wire = world.client()
    assert wire.say('421["join","telemetry-1"]') == ['431[{"rooms":[],"refused":["telemetry-1"]}]']


def test_the_room_of_everybody_cannot_be_joined():
    world = SocketIoWorld()
    assert world.client("ada").say('421["join","organization-*"]') == [
        '431[{"rooms":[],"refused":["organization-*"]}]'
    ]


def test_a_refused_join_is_logged_once_per_address():
    world = SocketIoWorld()
    with capturedLogs() as logged:
        for _ in range(3):
            world.client().join("telemetry-1", "telemetry-2")
    said = [text for event in logged if "may not join" in (text := formatEvent(event))]
    assert said == [
        "192.0.2.1 may not join telemetry-1: authenticate first; more of it is not logged"
    ]


# The end


def test_the_server_pings_and_closes_when_no_answer_comes():
    world = SocketIoWorld()
    wire = world.client()
    world.clock.advance(10)
    assert wire.hear() == ["2"]
    world.clock.advance(4.9)
    wire.say("3")
    world.clock.advance(10)
    assert wire.hear() == ["2"]
    world.clock.advance(5)
    assert wire.ended
    assert len(world.door.engine) == 0


def test_an_expired_token_closes_the_transport_so_that_the_client_comes_back():
    world = SocketIoWorld()
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 7)
    wire = world.client("ada")
    world.clock.advance(7)
    assert wire.hear() == []  # no "41", after which clients stay away
    assert wire.ended


def test_logout_ends_the_session():
    world = SocketIoWorld()
    wire, other = world.client("ada"), world.client("bob")
    del world.tokens.principals["ada"]
    world.events.publish(UserChanged(7))
    assert (wire.ended, other.ended) == (True, False)


def test_a_lost_membership_takes_the_rooms():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    world.tokens.principals["ada"] = user(7, 20)
    world.events.publish(UserChanged(7))
    world.store(reading(1))
    assert (wire.events(), wire.ended) == ([], False)


def test_a_client_may_leave_its_namespace_and_enter_again():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    assert wire.say("41") == []
    world.store(reading(1))
    assert wire.events() == []
    wire.enter("ada")


def test_nothing_is_left_of_a_client_that_has_gone():
    world = SocketIoWorld(recovery=0)
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 60)
    wire = world.client("ada")
    wire.join("telemetry-1")
    wire.cut()
    assert (len(world.door.engine), len(world.door.sessions), world.door.hub.rooms) == (0, 0, 0)
    assert world.door.conversations.recoverable == {}
    assert world.clock.getDelayedCalls() == []


def test_a_client_that_does_not_listen_costs_a_bounded_buffer_and_gets_the_newest():
    world = SocketIoWorld(max_buffer=2000, recovery=0)
    wire, other = world.client("ada"), world.client("ada")
    for each in (wire, other):
        each.join("telemetry-1", "telemetry-2")
    wire.ready = False
    for number in range(100):
        urgent = reading(1, f"{number}", number + 1)
        urgent.urgent = True
        world.store(urgent)
        assert wire.session._outbox.size <= 2000
        assert names(other.events()) == ["new-datastream"]
    wire.ready = True
    wire.session.carrier_ready(wire)
    values = [data["dataStream"]["value"] for _, data in wire.events()]
    assert values[-1] == "99"
    assert wire.session.dropped == 100 - len(values) > 0
    assert world.door.engine.dropped == wire.session.dropped


def test_a_client_that_asks_but_never_listens_is_closed():
    wire = SocketIoWorld(max_payload=1024, max_buffer=1024).client("ada")
    wire.ready = False
    for _ in range(100):
        wire.session.received(decode(b'421["leave","telemetry-1"]'), wire)
    assert wire.ended


def test_a_client_that_listens_may_ask_a_lot_at_once():
    wire = SocketIoWorld(max_payload=1024, max_buffer=1024).client("ada")
    for _ in range(1500):
        wire.session.received(decode(b'421["leave","telemetry-1"]'), wire)
    assert wire.hear() == ['431[{"rooms":[]}]'] * 1500


def test_a_user_is_welcomed_in_a_room_that_nobody_else_may_join():
    world = SocketIoWorld()
    ada, bob = world.client("ada"), world.client("bob")
    for wire in (ada, bob):
        wire.join("7")
    world.events.publish(UserWelcomed(7, "Welcome!", Instant.of(NOON)))
    data = {"userId": 7, "message": "Welcome!", "timestamp": Instant.of(NOON).iso()}
    assert (ada.events(), bob.events()) == ([("welcome", data)], [])


# Device states


def test_a_socket_in_both_rooms_of_a_device_hears_a_change_once():
    world = SocketIoWorld()
    world.rights.organizations |= {"device-7": 10, "device-uuid-p-1": 10}
    wire, other = world.client("ada"), world.client("ada")
    wire.join("device-7", "device-uuid-p-1")
    world.events.publish(changed_state())
    [(name, data)] = wire.events()
    assert (name, data["metadata"]["newValue"]) == ("device-state-change", "on")
    assert other.events() == []


def test_what_a_rule_did_is_told_to_all_who_may_see_the_device():
    world = SocketIoWorld(anonymous=("10",))
    member = Principal(PrincipalKind.USER, "m@x", 9, {10: frozenset({"device.view"})})
    world.tokens.principals["member"] = member
    root = Principal(PrincipalKind.USER, "r@x", 1, administrator=True)
    world.tokens.principals["root"] = root
    told = [world.client("member"), world.client("root")]
    others = [world.client("bob"), world.client()]
    change = changed_state(rule={"ruleChainId": 2, "ruleChainName": "dry", "nodeId": 9})
    world.events.publish(change)
    for wire in told:
        [(name, data)] = wire.events()
        assert name == "device-state-change"
        assert data["metadata"]["triggeredBy"] == "rule_chain"
    assert [wire.events() for wire in others] == [[], []]


def test_what_a_rule_did_may_be_kept_to_the_rooms():
    world = SocketIoWorld(rule_changes="rooms")
    world.tokens.principals["root"] = Principal(PrincipalKind.USER, "r@x", 1, administrator=True)
    wire = world.client("root")
    world.events.publish(changed_state(rule={"ruleChainId": 2}))
    assert wire.events() == []


# Coming back


def test_a_client_comes_back_to_its_id_its_rooms_and_what_it_missed():
    world = SocketIoWorld()
    wire = world.client("ada")
    first = dict(wire.answer)
    wire.join("telemetry-1")
    world.store(reading(1, "1"))
    assert names(wire.events()) == ["new-datastream"]
    world.clock.advance(2)
    wire.cut()
    world.clock.advance(30)
    world.store(reading(1, "2", 101))
    again, missed = come_back(world, wire)
    assert again.answer == first
    assert missed == ["2"]
    assert world.door.conversations.recovered == 1
    world.clock.advance(2)
    world.store(reading(1, "3", 102))
    assert values(again.hear()) == ["3"]


@pytest.mark.parametrize("noticed_by", ["server", "client"])
def test_what_a_silent_client_may_not_have_got_comes_again(noticed_by):
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    world.store(reading(1, "1"))
    world.clock.advance(10)
    assert wire.hear()[-1] == "2"
    wire.say("3")  # so it has everything so far
    world.clock.advance(2)
    world.store(reading(1, "2", 101))  # on its way when the network breaks
    if noticed_by == "server":
        world.clock.advance(8)
        world.clock.advance(5)
        assert wire.ended
    again, missed = come_back(world, wire)
    assert wire.ended
    assert again.answer == wire.answer
    assert missed == ["2"]


def test_a_silent_client_that_polls_has_what_came_before_its_last_poll():
    world = SocketIoWorld()
    wire = world.wire("polling")
    wire.enter("ada")
    wire.join("telemetry-1")
    for number in (1, 2):
        world.store(reading(1, str(number), number))
        world.clock.advance(2)
        wire.session.carrier_ready(wire)  # the next poll
    world.store(reading(1, "3"))  # the answer to that gets lost
    again, missed = come_back(world, wire)
    assert again.answer == wire.answer
    assert missed == ["3"]


def test_a_silent_client_that_breaks_again_at_once_misses_nothing_either():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    world.store(reading(1, "1"))
    for _ in range(3):
        wire, missed = come_back(world, wire)
        assert missed == ["1"]


def test_a_client_whose_buffer_was_full_when_it_went_gets_what_waited():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    wire.ready = False
    world.store(reading(1, "1"))
    wire.cut()
    assert come_back(world, wire)[1] == ["1"]


def test_a_client_may_notice_before_the_server_that_its_connection_is_broken():
    world = SocketIoWorld()
    wire = world.client("ada")
    again, _ = come_back(world, wire)
    assert again.answer == wire.answer
    assert wire.ended
    assert len(world.door.engine) == 1
    other = world.client("bob", pid=again.answer["pid"])
    assert other.answer["pid"] != again.answer["pid"]
    assert not again.ended


def test_a_client_whose_connection_breaks_while_it_comes_back_may_try_once_more():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    wire.cut()
    world.rights.held = []
    broken = world.wire()
    broken.say(f"40{json.dumps({'token': 'ada', 'pid': wire.answer['pid']})}")
    broken.cut()
    world.rights.release()
    assert world.client("ada", pid=wire.answer["pid"]).answer == wire.answer


def test_what_was_missed_comes_right_behind_the_answer():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    wire.cut()
    world.store(reading(1, "1"))
    again = world.wire()
    auth = json.dumps({"token": "ada", "pid": wire.answer["pid"]})
    [_, answer, missed] = again.say(f"40{auth}")
    assert json.loads(answer[2:])["pid"] == wire.answer["pid"]
    assert missed.startswith('42["new-datastream"')


def test_of_a_room_only_what_came_after_its_join_is_missed():
    world = SocketIoWorld()
    other, wire = world.client("ada"), world.client("ada")
    other.join("telemetry-2")
    wire.join("telemetry-1")
    world.store(reading(2, "1"))
    wire.join("telemetry-2")
    wire.cut()
    world.clock.advance(2)
    world.store(reading(2, "2"))
    assert come_back(world, wire)[1] == ["2"]


@pytest.mark.parametrize("token", ["bob", None])
def test_nobody_comes_back_as_somebody_else(token):
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    wire.cut()
    again = world.client(token, pid=wire.answer["pid"])
    assert again.answer["pid"] != wire.answer["pid"]
    world.store(reading(1))
    assert again.events() == []


def test_rights_that_were_lost_meanwhile_are_not_recovered():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    wire.cut()
    world.store(reading(1))
    world.tokens.principals["ada"] = user(7, 20)
    again = world.client("ada", pid=wire.answer["pid"])
    world.clock.advance(1)
    world.store(reading(1))
    assert again.events() == []


def test_after_two_minutes_a_client_is_a_new_one():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.join("telemetry-1")
    wire.cut()
    world.clock.advance(120)
    again = world.client("ada", pid=wire.answer["pid"])
    assert again.answer["sid"] != wire.answer["sid"]
    world.store(reading(1))
    assert again.events() == []


def test_a_client_whose_missed_events_are_forgotten_is_a_new_one_in_its_old_rooms():
    world = SocketIoWorld(replay_events=1)
    wire = world.client("ada")
    wire.join("telemetry-1", "telemetry-2")
    wire.cut()
    world.store(reading(1), reading(2))
    again = world.client("ada", pid=wire.answer["pid"])
    assert again.answer["sid"] != wire.answer["sid"]
    world.clock.advance(2)
    world.store(reading(1))
    assert names(again.events()) == ["new-datastream"]


def test_who_said_goodbye_does_not_come_back():
    world = SocketIoWorld()
    wire = world.client("ada")
    wire.say("41")
    wire.cut()
    assert world.client("ada", pid=wire.answer["pid"]).answer["sid"] != wire.answer["sid"]


@pytest.mark.parametrize("auth", [{"pid": 7}, {"pid": "x", "offset": 7}, {"pid": ["x"]}])
def test_nonsense_of_a_returning_client_makes_it_a_new_one(auth):
    wire = SocketIoWorld().client("ada", **auth)
    assert wire.answer["sid"]


def test_those_who_left_are_bounded():
    world = SocketIoWorld(max_connections=3)
    for _ in range(10):
        world.client("ada").cut()
    assert len(world.door.conversations.recovery) == 3


def test_without_recovery_no_private_id_is_told():
    assert set(SocketIoWorld(recovery=0).client("ada").answer) == {"sid"}


# Moving from long polling to a WebSocket


def moving(world):
    poll = world.wire("polling")
    poll.hear()
    poll.enter("ada")
    poll.join("telemetry-1")
    socket = type(poll)(world, "websocket")
    socket.session = poll.session
    assert poll.session.offer(socket)
    return poll, socket


def test_a_session_moves_to_a_websocket_without_loss_or_reordering():
    world = SocketIoWorld()
    poll, socket = moving(world)
    poll.ready = False  # its last GET was answered, the next is on its way
    assert socket.say("2probe") == ["3probe"]
    world.store(reading(1, "1"))
    poll.ready = True
    poll.session.carrier_ready(poll)
    [first, noop] = poll.hear()
    assert ('"value":"1"' in first, noop) == (True, "6")
    poll.ready = False
    world.clock.advance(1)
    world.store(reading(1, "2", 101))
    world.clock.advance(0)
    assert socket.say("5")[0].startswith('42["new-datastream",{"dataStream":{"id":101')
    assert poll.ended
    world.clock.advance(1)
    world.store(reading(1, "3", 102))
    assert '"value":"3"' in socket.hear()[0]
    assert not socket.ended


def test_a_get_that_waits_is_released_when_the_client_is_about_to_move():
    world = SocketIoWorld()
    poll, socket = moving(world)
    socket.say("2probe")
    assert poll.hear() == ["6"]


@pytest.mark.parametrize("begun", [True, False])
def test_a_move_that_is_not_finished_in_time_is_off(begun):
    world = SocketIoWorld()
    poll, socket = moving(world)
    if begun:
        socket.say("2probe")
    poll.say("3")
    world.clock.advance(9)
    poll.say("3")
    world.clock.advance(1)
    assert (socket.ended, poll.ended) == (True, False)
    world.store(reading(1))
    assert names(poll.events()) == ["new-datastream"]


def test_a_websocket_that_breaks_while_moving_leaves_the_session_where_it_was():
    world = SocketIoWorld()
    poll, socket = moving(world)
    socket.say("2probe")
    socket.cut()
    world.store(reading(1))
    assert names(poll.events()) == ["new-datastream"]
    assert poll.session.offer(type(poll)(world, "websocket"))


@pytest.mark.parametrize("packets", [["5"], ["2"], ["40"], ["2probe", "2probe"], ["2probe", "3"]])
def test_a_websocket_that_does_not_move_as_agreed_is_closed(packets):
    world = SocketIoWorld()
    poll, socket = moving(world)
    for packet in packets:
        socket.say(packet)
    assert (socket.ended, poll.ended) == (True, False)


def test_a_session_moves_once():
    world = SocketIoWorld()
    poll, socket = moving(world)
    assert not poll.session.offer(socket)
    socket.say("2probe")
    socket.say("5")
    assert not poll.session.offer(socket)
    poll.say("41")  # too late for this way
    world.store(reading(1))
    assert names(socket.events()) == ["new-datastream"]


def test_a_session_that_ends_while_moving_takes_both_ways_along():
    world = SocketIoWorld()
    poll, socket = moving(world)
    poll.cut()
    assert socket.ended


def test_the_door_can_be_switched_off():
    assert list(SocketIoWorld().door.children()) == ["/socket.io"]
    assert SocketIoWorld(enabled=False).door.children() == {}
