"""Every call of the existing dashboard, in its order, against a running server.

The rows are those of spec/http-api.md section 6; the dashboard reads the fields that are asserted
here, and nothing else of an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import bcrypt
import pytest

from aemos.storage.transaction import Transaction
from tests.integration.device import Device
from tests.integration.server import PASSWORD, Server
from tests.live import connect

ADMIN = "admin@example.org"
PERMISSIONS = {
    f"{thing}.{action}"
    for thing in ("organization", "area", "sensor", "device", "rule")
    for action in ("view", "create", "update", "delete")
}
LEAF = {"sourceType": "sensor", "key": "temperature", "operator": ">", "value": 30}


@attrs.define
class Dashboard:
    """What the browser does: each call carries the token and the selected organization."""

    server: Server
    token: str = ""
    organization: int = 1  # until one is selected

    def call(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """@param path: below `/api/v1/`. @return: `data` of the answer, None for an empty one."""
        answered, content = self.server.request(method, f"/api/v1/{path}", body, self.token)
        assert answered == status, (method, path, answered, content)
        if status >= 400:
            assert content["message"]
        return None if content is None else content.get("data", content)

    def scoped(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """The same with `?organizationId=` of the selected organization."""
        mark = "&" if "?" in path else "?"
        return self.call(method, f"{path}{mark}organizationId={self.organization}", body, status)


@pytest.fixture
def dashboard(server: Server) -> Dashboard:
    """Signed in as a System Admin, with no organization selected."""
    server.sql(_add_admin)
    dashboard = Dashboard(server)
    data = dashboard.call("POST", "auth/login", {"email": ADMIN, "password": PASSWORD})
    dashboard.token = data["token"]
    return dashboard


def _add_admin(tx: Transaction) -> None:
    if tx.value("SELECT id FROM User WHERE email = %s", (ADMIN,)) is not None:
        return
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    user = {"userName": "Ada", "email": ADMIN, "password": hashed, "status": True}
    membership = {
        "userId": tx.insert("User", user),
        "organizationId": tx.insert("Organization", {"name": "Root", "status": "active"}),
        "role": tx.value("SELECT id FROM Role WHERE name = %s", ("System Admin",)),
    }
    tx.insert("OrganizationUser", {**membership, "status": "active"})


def new_organization(dashboard: Dashboard) -> int:
    """Rows 8 and 10, as the organization page makes one, which is selected from then on."""
    form = {
        "name": "Farm", "status": "active", "detail": "", "address": "", "zip": "", "email": "",
        "contactNumber": "", "isParent": True, "image": "",
    }  # fmt: skip
    made = dashboard.scoped("POST", "organizations", form, 201)["organization"]
    dashboard.organization = made["id"]
    return int(made["id"])


def new_area(dashboard: Dashboard, name: str = "Field") -> int:
    """Row 16."""
    form = {
        "name": name,
        "organizationId": dashboard.organization,
        "description": "by the river",
        "status": "active",
    }
    area = dashboard.scoped("POST", "areas", form, 201)["area"]
    assert area["description"] == "by the river"
    return int(area["id"])


def new_sensor(dashboard: Dashboard, area: int) -> Any:
    """Row 21."""
    form = {"name": "Probe", "areaId": area, "status": "active", "description": "", "uuid": ""}
    return dashboard.scoped("POST", "sensors", form, 201)["sensor"]


def new_device(dashboard: Dashboard, area: int) -> Any:
    """Row 27."""
    form = {
        "name": "Pump", "description": "", "status": "active", "deviceType": "actuator",
        "organizationId": dashboard.organization, "communicationProtocol": "mqtt",
        "isCritical": False, "areaId": area, "controlModes": "", "capabilities": {},
    }  # fmt: skip
    return dashboard.call("POST", "devices", form, 201)["device"]


def test_rows_1_to_7_account(server: Server, dashboard: Dashboard) -> None:
    data = dashboard.call("POST", "auth/login", {"email": ADMIN, "password": PASSWORD})
    assert (data["user"]["userName"], data["user"]["roles"]) == ("Ada", ["System Admin"])
    assert data["token"]
    assert data["refreshToken"]
    assert set(data["permissions"]) >= PERMISSIONS
    visitor = Dashboard(server)
    signup = {
        "userName": "Bob", "email": "bob@example.org", "password": PASSWORD, "phoneNumber": "",
        "notifyByEmail": True, "notifyBySMS": False, "termsAndConditions": True,
    }  # fmt: skip
    made = visitor.call("POST", "auth/signup", signup, 201)
    assert made["user"]["userName"] == "Bob"
    assert (made["permissions"], made["token"] != "") == ([], True)
    visitor.token = made["token"]
    me = visitor.call("GET", "auth/me")
    for field in ("userName", "email", "phoneNumber", "notifyByEmail", "notifyBySMS"):
        assert me[field] == me["user"][field]
    assert (me["userName"], me["permissions"]) == ("Bob", [])
    assert set(dashboard.call("GET", "auth/me")["permissions"]) >= PERMISSIONS
    forgotten = visitor.call("POST", "auth/forgot-password", {"email": "bob@example.org"})
    assert forgotten["message"]
    visitor.call("POST", "auth/reset-password", {"token": "x", "password": PASSWORD}, 400)
    visitor.call("POST", "auth/verify-email", {"token": "x"}, 400)
    body = {"refreshToken": made["refreshToken"]}
    assert visitor.call("POST", "auth/refresh-token", body)["token"]
    visitor.call("POST", "auth/logout")
    visitor.call("GET", "auth/me", status=401)


def test_rows_8_to_12_organizations(dashboard: Dashboard) -> None:
    organization = new_organization(dashboard)
    listed = dashboard.call("GET", "organizations")["organizations"]
    (seen,) = [each for each in listed if each["id"] == organization]
    assert (seen["name"], seen["status"], seen["parentId"]) == ("Farm", "active", None)
    filters = "search=far&status=active&isParent=true&page=1&limit=10"
    found = dashboard.scoped("GET", f"organizations?{filters}")["organizations"]
    assert organization in {each["id"] for each in found}
    shown = dashboard.scoped("GET", f"organizations/{organization}")["organization"]
    assert (shown["id"], shown["isParent"]) == (organization, True)
    change = {"organizationId": organization, "name": "Big farm", "zip": "1"}
    changed = dashboard.scoped("PATCH", f"organizations/{organization}", change)
    assert changed["organization"]["name"] == "Big farm"
    assert dashboard.scoped("DELETE", f"organizations/{organization}", status=204) is None


def test_rows_13_to_16_areas(dashboard: Dashboard) -> None:
    organization = new_organization(dashboard)
    area = new_area(dashboard)
    listed = dashboard.scoped("GET", "areas")["areas"]
    (seen,) = [each for each in listed if each["id"] == area]
    assert (seen["organizationId"], seen["organization"]["name"]) == (organization, "Farm")
    assert seen["description"] == "by the river"
    assert dashboard.scoped("GET", f"areas/{area}")["area"]["name"] == "Field"
    own = dashboard.scoped("GET", f"areas/organization/{organization}")["areas"]
    assert [each["id"] for each in own] == [area]
    form = {"name": "Meadow", "organizationId": organization, "description": "", "status": ""}
    changed = dashboard.scoped("PATCH", f"areas/{area}", form)["area"]
    assert (changed["name"], changed["status"]) == ("Meadow", "active")
    dashboard.scoped("DELETE", f"areas/{area}", status=204)


def test_rows_17_to_24_sensors(dashboard: Dashboard) -> None:
    organization = new_organization(dashboard)
    area, other = new_area(dashboard), new_area(dashboard, "Other")
    sensor = new_sensor(dashboard, area)
    path = f"sensors/{sensor['id']}"
    for query in ("sensors", f"sensors?areaId={area}", f"sensors/organization/{organization}"):
        (seen,) = dashboard.scoped("GET", query)["sensors"]
        assert (seen["id"], seen["uuid"]) == (sensor["id"], sensor["uuid"])
        assert (seen["areaId"], seen["area"]["name"]) == (area, "Field")
    assert dashboard.scoped("GET", f"sensors?areaId={other}")["sensors"] == []
    variable = {"sensorId": sensor["id"], "variableName": "temperature", "datatype": "float"}
    dashboard.call("POST", "telemetry", variable, 201)
    shown = dashboard.scoped("GET", path)["sensor"]
    (telemetry,) = shown["TelemetryData"]
    assert {**telemetry, "id": 0} == {"id": 0, **variable}
    change = {"variableName": "warmth", "datatype": "int"}
    dashboard.call("PATCH", f"telemetry/{telemetry['id']}", change)
    form = {"name": "P2", "description": "", "status": "active", "uuid": sensor["uuid"],
            "areaId": other}  # fmt: skip
    assert dashboard.scoped("PATCH", path, form)["sensor"]["name"] == "P2"
    assert dashboard.scoped("GET", path)["sensor"]["areaId"] == other
    dashboard.scoped("DELETE", path, status=204)


def test_rows_25_to_29_devices(dashboard: Dashboard) -> None:
    organization = new_organization(dashboard)
    area = new_area(dashboard)
    device = new_device(dashboard, area)
    assert isinstance(device["id"], int)
    path = f"devices/{device['id']}"
    (seen,) = dashboard.scoped("GET", "devices")["devices"]
    assert (seen["organizationId"], seen["areaId"], seen["states"]) == (organization, area, [])
    capability = {"stateName": "power", "dataType": "string", "defaultValue": "off",
                  "allowedValues": ["on", "off"]}  # fmt: skip
    change = {"organizationId": organization, "capabilities": {"power": capability}}
    changed = dashboard.call("PATCH", path, change)["device"]
    assert changed["capabilities"] == {"power": capability}
    edit = {"organizationId": organization, "name": "Pump 2", "status": "active",
            "deviceType": "actuator", "isCritical": True}  # fmt: skip
    assert dashboard.call("PATCH", path, edit)["device"]["name"] == "Pump 2"
    shown = dashboard.scoped("GET", path)["device"]
    assert (shown["organizationId"], shown["areaId"], shown["states"]) == (organization, area, [])
    dashboard.scoped("DELETE", path, status=204)


async def test_rows_30_to_35_states_and_what_everybody_hears_of_them(
    server: Server, dashboard: Dashboard, device: Callable[..., Device]
) -> None:
    witness = server.add_sensor(organization="witness")
    north = server.sign_in("witness")
    dashboard.organization = int(
        server.sql(lambda tx: tx.value("SELECT id FROM Organization WHERE name = 'witness'"))
    )
    pump = new_device(dashboard, new_area(dashboard))
    states = f"device-states/device/{pump['id']}"
    form = {"stateName": "power", "dataType": "string", "defaultValue": "off",
            "allowedValues": ["on", "off"]}  # fmt: skip
    state = dashboard.call("POST", states, form, 201)
    assert json.loads(state["allowedValues"]) == ["on", "off"]
    (seen,) = dashboard.scoped("GET", states)
    assert json.loads(seen["allowedValues"]) == ["on", "off"]
    edit = {**form, "allowedValues": ["on", "off", "auto"], "status": "active"}
    changed = dashboard.call("PATCH", f"device-states/{state['id']}", edit)
    assert (changed["id"], len(json.loads(changed["allowedValues"]))) == (state["id"], 3)

    live = await connect(server.ports["http"], "aemos.v1", north)
    await live.hear()
    rooms = [f"device-uuid-{pump['uuid']}", f"device-{pump['id']}"]
    answer = await live.ask(type="subscribe", rooms=rooms)
    assert sorted(answer["rooms"]) == sorted(rooms)
    listener = device(witness)
    assert listener.subscribe(f"devices/{pump['uuid']}/state") == 1
    body = {"deviceUuid": pump["uuid"], "stateName": "power", "value": "on", "initiatedBy": "user"}
    assert dashboard.call("POST", "device-state-instances", body, 201)["value"] == "on"
    event = await live.hear()
    assert (event["event"], event["data"]["priority"]) == ("device-state-change", "high")
    metadata = event["data"]["metadata"]
    assert (metadata["deviceUuid"], metadata["stateName"]) == (pump["uuid"], "power")
    assert (metadata["oldValue"], metadata["newValue"]) == (None, "on")
    told = listener.hear_json()
    assert (told["type"], told["newValue"]) == ("device_state_change", "on")
    assert told["metadata"]["deviceId"] == pump["id"]
    # Once, although the session is in both rooms of the device.
    assert (await live.ask(type="ping"))["type"] == "pong"
    await live.leave()

    path = f"devices/{pump['id']}/states/{state['id']}"
    value = {"value": "auto", "organizationId": dashboard.organization}
    assert dashboard.call("PATCH", path, value)["value"] == "auto"
    (shown,) = dashboard.scoped("GET", f"devices/{pump['id']}")["device"]["states"]
    assert shown["instances"][0]["value"] == "auto"
    assert shown["instances"][0]["fromTimestamp"].endswith("Z")
    dashboard.call("POST", "device-state-instances", {**body, "value": "half"}, 400)
    deleted = dashboard.call("DELETE", f"device-states/{state['id']}")
    assert deleted["status"] == "success"


def test_rows_36_to_41_rule_chains(dashboard: Dashboard) -> None:
    organization = new_organization(dashboard)
    area = new_area(dashboard)
    sensor, pump = new_sensor(dashboard, area), new_device(dashboard, area)
    form = {"name": "Dry", "description": "", "organizationId": organization}
    chain = dashboard.scoped("POST", "rule-chains", form, 201)["id"]
    path = f"rule-chains/{chain}"
    condition = {**LEAF, "UUID": sensor["uuid"]}
    command = {"deviceUuid": pump["uuid"], "stateName": "power", "value": "on"}
    nodes = []
    for name, kind, config in (
        ("hot", "filter", condition),
        ("water", "action", {"type": "DEVICE_COMMAND", "command": command}),
    ):
        body = {"ruleChainId": chain, "type": kind, "name": name, "config": json.dumps(config),
                "nextNodeId": None}  # fmt: skip
        node = dashboard.scoped("POST", "rule-chains/nodes", body, 201)
        assert node["config"] == config
        nodes.append(node)
    body = {"name": "hot", "config": json.dumps(condition), "nextNodeId": nodes[1]["id"]}
    linked = dashboard.scoped("PATCH", f"rule-chains/nodes/{nodes[0]['id']}", body)
    assert linked["nextNodeId"] == nodes[1]["id"]
    edit = {"name": "Dry field", "description": "x", "organizationId": organization}
    assert dashboard.scoped("PATCH", path, edit)["name"] == "Dry field"
    (seen,) = dashboard.scoped("GET", "rule-chains")
    assert (seen["id"], seen["organizationId"], len(seen["nodes"])) == (chain, organization, 2)
    shown = dashboard.scoped("GET", path)
    first = shown["nodes"][0]
    assert (first["type"], first["config"], first["ruleChainId"]) == ("filter", condition, chain)
    data = {"sensorData": [{"UUID": sensor["uuid"], "temperature": 31}]}
    assert dashboard.scoped("POST", f"{path}/execute", data)["summary"]["actionsExecuted"] == 1
    dashboard.scoped("DELETE", f"rule-chains/nodes/{nodes[1]['id']}", status=204)
    dashboard.scoped("DELETE", path, status=204)
    dashboard.scoped("GET", path, status=404)


def org_admin(root: Dashboard) -> Dashboard:
    """Somebody who has signed up, and whom the System Admin has made Org Admin of the selected
    organization: whom the guards look at, unlike a System Admin."""
    member = Dashboard(root.server, organization=root.organization)
    signup = {
        "userName": "Olga", "email": f"olga-{root.organization}@example.org", "password": PASSWORD,
        "termsAndConditions": True, "phoneNumber": "", "notifyByEmail": False, "notifyBySMS": False,
    }  # fmt: skip
    data = member.call("POST", "auth/signup", signup, 201)
    member.token = data["token"]
    (role,) = [role["id"] for role in root.call("GET", "roles") if role["name"] == "Org Admin"]
    body = {"roleId": role, "organizationId": root.organization}
    root.call("POST", f"user-roles/{data['user']['id']}", body)
    return member


def test_an_org_admin_sets_up_and_clears_away_a_field(dashboard: Dashboard) -> None:
    organization = new_organization(dashboard)
    olga = org_admin(dashboard)
    assert [row["id"] for row in olga.scoped("GET", "organizations")["organizations"]] == [
        organization
    ]
    assert set(olga.call("GET", "auth/me")["permissions"]) >= PERMISSIONS - {
        "organization.create",
        "organization.delete",
    }
    change = {"organizationId": organization, "name": "Olga's farm"}
    olga.scoped("PATCH", f"organizations/{organization}", change)
    area, other = new_area(olga), new_area(olga, "Other")
    sensor, pump = new_sensor(olga, area), new_device(olga, area)
    variable = {"sensorId": sensor["id"], "variableName": "temperature", "datatype": "float"}
    olga.call("POST", "telemetry", variable, 201)
    (telemetry,) = olga.scoped("GET", f"sensors/{sensor['id']}")["sensor"]["TelemetryData"]
    olga.call("PATCH", f"telemetry/{telemetry['id']}", {"variableName": "t", "datatype": "int"})
    form = {"name": "P2", "description": "", "status": "active", "uuid": "", "areaId": other}
    moved = olga.scoped("PATCH", f"sensors/{sensor['id']}", form)["sensor"]
    assert (moved["uuid"], moved["areaId"]) == (sensor["uuid"], other)
    edit = {"organizationId": organization, "name": "Pump 2", "status": "active"}
    olga.call("PATCH", f"devices/{pump['id']}", edit)

    state = {"stateName": "power", "dataType": "string", "defaultValue": "off",
             "allowedValues": []}  # fmt: skip
    state_id = olga.call("POST", f"device-states/device/{pump['id']}", state, 201)["id"]
    olga.call("PATCH", f"device-states/{state_id}", {**state, "allowedValues": ["on", "off"]})
    value = {"deviceUuid": pump["uuid"], "stateName": "power", "value": "on"}
    olga.call("POST", "device-state-instances", {**value, "initiatedBy": "user"}, 201)
    (shown,) = olga.scoped("GET", f"devices/{pump['id']}")["device"]["states"]
    assert shown["instances"][0]["value"] == "on"

    form = {"name": "Dry", "description": "", "organizationId": organization}
    chain = olga.scoped("POST", "rule-chains", form, 201)["id"]
    config = json.dumps({**LEAF, "UUID": sensor["uuid"]})
    body = {"ruleChainId": chain, "type": "filter", "name": "hot", "config": config,
            "nextNodeId": None}  # fmt: skip
    node = olga.scoped("POST", "rule-chains/nodes", body, 201)["id"]
    olga.scoped("PATCH", f"rule-chains/nodes/{node}", {"name": "hot 2", "config": config})
    (seen,) = olga.scoped("GET", "rule-chains")
    assert [one["name"] for one in seen["nodes"]] == ["hot 2"]

    olga.scoped("DELETE", f"rule-chains/nodes/{node}", status=204)
    olga.scoped("DELETE", f"rule-chains/{chain}", status=204)
    assert olga.call("DELETE", f"device-states/{state_id}")["status"] == "success"
    for path in (f"devices/{pump['id']}", f"sensors/{sensor['id']}", f"areas/{area}"):
        olga.scoped("DELETE", path, status=204)
    assert [each["id"] for each in olga.scoped("GET", "areas")["areas"]] == [other]
    # 403, never 401: on that the dashboard signs its user out.
    olga.scoped("POST", "organizations", {"name": "Mine"}, 403)
    olga.scoped("DELETE", f"organizations/{organization}", status=403)
    olga.organization = 1  # what the dashboard sends when no organization is selected
    for path in ("sensors", "devices", "rule-chains", "areas/organization/1"):
        olga.scoped("GET", path, status=403)
    assert [each["id"] for each in olga.scoped("GET", "areas")["areas"]] == [other]
