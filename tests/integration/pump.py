"""A pump of the integration tests: made, given a token and commands over REST like any other."""

from __future__ import annotations

from typing import Any

import attrs

from tests.integration.device import Device
from tests.integration.server import Server, until

API = "/api/v1"


@attrs.define
class Pump:
    """A device with a state `power` (off by default), and whoever looks after it."""

    server: Server
    id: int
    uuid: str
    token: str
    administrator: str

    @classmethod
    def of(cls, server: Server) -> Pump:
        """@return: a new pump in the organization of a new sensor."""
        organization = server.add_sensor().organization
        area = server.sql(
            lambda tx: tx.value("SELECT id FROM Area WHERE organizationId = %s", (organization,))
        )
        administrator = server.sign_in()

        def made(path: str, body: object) -> Any:
            status, answer = server.post(API + path, body, administrator)
            assert status in (200, 201), answer
            return answer["data"]

        place = {"organizationId": organization, "areaId": area}
        device = made("/devices", {"name": "pump", "deviceType": "actuator", **place})["device"]
        state = {"stateName": "power", "dataType": "string", "defaultValue": "off"}
        made(f"/device-states/device/{device['id']}", {**state, "allowedValues": ["on", "off"]})
        token = made("/device-tokens", {"deviceId": device["id"]})["token"]
        return cls(server, device["id"], device["uuid"], token, administrator)

    @property
    def topic(self) -> str:
        """Where its commands come."""
        return f"devices/{self.uuid}/commands"

    def connect(self, *, listen: bool = True, **options: Any) -> Device:
        """@return: the pump, signed in."""
        device = Device(self.server, self.uuid, self.token, client_id="pump", **options)
        assert device.connect() == 0
        if listen:
            device.subscribe(self.topic, 2)
        return device

    def order(self, body: object, query: str = "") -> dict[str, Any]:
        """@return: the command that was given."""
        path = f"{API}/devices/{self.uuid}/commands{query}"
        status, answer = self.server.post(path, body, self.administrator)
        assert status == 201, answer
        command: dict[str, Any] = answer["data"]["command"]
        return command

    def commands(self) -> list[dict[str, Any]]:
        """@return: all that it was given, the newest first."""
        path = f"{API}/devices/{self.uuid}/commands"
        status, answer = self.server.get(path, self.administrator)
        assert status == 200, answer
        found: list[dict[str, Any]] = answer["data"]["commands"]
        return found

    def steps(self, command_id: str) -> list[str]:
        """@return: what a command went through."""
        [command] = [each for each in self.commands() if each["commandId"] == command_id]
        return [step["status"] for step in command["transitions"]]

    def reaches(self, command_id: str, status: str) -> list[str]:
        """@return: the steps of a command when the last of them is this one."""
        return until(
            lambda: steps if (steps := self.steps(command_id))[-1] == status else None,
            f"the command is {status}",
        )
