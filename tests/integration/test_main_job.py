"""A device publishes; it is stored, acknowledged, readable and live."""

from __future__ import annotations

import pytest

from tests.live import connect


async def test_publish_puback_row_rest_and_live_event(server, device):
    sensor = server.add_sensor("temperature", "humidity")
    temperature = sensor.variables["temperature"]
    token = server.sign_in()
    live = await connect(server.ports["http"], "aemos.v1", token)
    assert (await live.hear())["organizations"] == [sensor.organization]
    rooms = [f"telemetry-{temperature}", f"device-uuid-{sensor.uuid}"]
    assert (await live.ask(type="subscribe", rooms=rooms))["rooms"] == rooms

    payload = {
        "value": 25.4,
        "variableName": "temperature",
        "recievedAt": "2026-01-01T00:00:00Z",
        "token": sensor.token,
    }
    device(sensor).publish(sensor.datastream, payload)

    # Acknowledged: then it is in the database, at once.
    [row] = server.stored(sensor)
    assert (row["value"], row["telemetryDataId"]) == ("25.4", temperature)
    stream = {
        "id": row["id"],
        "value": "25.4",
        "telemetryDataId": temperature,
        "recievedAt": "2026-01-01T00:00:00.000Z",
    }
    status, body = server.get(f"/api/v1/datastreams/{row['id']}", token)
    assert status == 200
    assert {key: body["data"]["dataStream"][key] for key in stream} == stream
    event = await live.hear()
    while event["event"] == "presence":  # of a sensor that has just come online
        event = await live.hear()
    assert (event["event"], event["room"]) == ("new-datastream", rooms[0])
    assert event["data"]["dataStream"] == stream
    await live.leave()


async def test_a_reading_over_http_is_live_and_announced_over_mqtt(server, device):
    sensor = server.add_sensor()
    variable = sensor.variables["temperature"]
    live = await connect(server.ports["http"], "aemos.v1", server.sign_in())
    await live.hear()
    await live.ask(type="subscribe", rooms=[f"telemetry-{variable}"])
    listener = device(sensor)
    assert listener.subscribe(sensor.datastream) == 1
    status, body = server.post(
        "/api/v1/datastreams/token", {"telemetryDataId": variable, "value": 0}, sensor.token
    )
    assert (status, body["data"]["value"]) == (201, "0")
    [row] = server.stored(sensor)
    assert (await live.hear())["data"]["dataStream"]["id"] == row["id"]
    told = listener.hear_json()
    assert (told["type"], told["metadata"]["id"]) == ("data_stream", row["id"])
    await live.leave()


async def test_another_tenant_neither_reads_nor_hears(server, device):
    sensor = server.add_sensor(organization="north")
    server.add_sensor(organization="south")
    stranger = server.sign_in("south")
    live = await connect(server.ports["http"], "aemos.v1", stranger)
    await live.hear()
    answer = await live.ask(
        type="subscribe",
        rooms=[f"telemetry-{sensor.variables['temperature']}", f"device-uuid-{sensor.uuid}"],
    )
    assert answer["rooms"] == []
    assert {each["code"] for each in answer["refused"]} == {"forbidden"}
    device(sensor).publish(sensor.datastream, {"variableName": "temperature", "value": 1})
    [row] = server.stored(sensor)
    assert server.get(f"/api/v1/datastreams/{row['id']}", stranger)[0] in (403, 404)
    assert (await live.ask(type="ping"))["type"] == "pong"
    await live.leave()


async def test_logging_out_ends_the_live_session(server):
    server.add_sensor()
    token = server.sign_in()
    live = await connect(server.ports["http"], "aemos.v1", token)
    await live.hear()
    assert server.post("/api/v1/auth/logout", {}, token)[0] == 200
    assert (await live.hear())["code"] == "unauthenticated"
    assert (await live.closed())[0] == 4401


@pytest.mark.parametrize("query", ["?token=x", "?access_token=x"])
async def test_a_token_in_the_address_is_refused(server, query):
    with pytest.raises(ConnectionError, match="400"):
        await connect(server.ports["http"], query=query)
