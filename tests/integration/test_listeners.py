"""The ways in besides plain TCP: TLS, client certificates, balancers, endpoint strings, SIGHUP."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from aemos.mqtt.packets import ConnAck, Connect, Publish, Subscribe
from tests.certificates import Authority, Pair
from tests.integration.server import Sensor, Server, until
from tests.integration.wire import PING, PONG, Wire, hello

LOCAL = "tcp:0:interface=127.0.0.1"
CONNECTED, REFUSED = ConnAck().encode(), ConnAck(5).encode()

# As browsers ask for a WebSocket.
UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)

# Does what systemd does for a socket unit, then becomes the server.
ACTIVATED = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="mqtt", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def root(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start_server(*, wrapper: list[str] | None = None, **sections: Any) -> Server:
        server = Server(tmp_path, f"sqlite:///{tmp_path / 'a.sqlite'}", **sections)
        server.wrapper = wrapper or []
        servers.append(server)
        return server.start()

    yield start_server
    for each in servers:
        each.close()


def tls(pair: Pair, **more: str) -> Mapping[str, Any]:
    """@return: a section `mqtt` with the TLS listeners."""
    return {
        "tls": {
            "endpoint": LOCAL,
            "websocket_endpoint": LOCAL,
            "cert": pair.cert_path,
            "key": pair.key_path,
            **more,
        }
    }


def client_context(root: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    """@return: what a client that trusts `root` uses, with its certificate if it has one."""
    context = ssl.create_default_context(cafile=root.path)
    if pair is not None:
        context.load_cert_chain(pair.cert_path, pair.key_path)
    return context


def say(server: Server, context: ssl.SSLContext, *packets: bytes) -> bytes:
    """@return: the four bytes that a new TLS connection gets for these, b"" if it is closed."""
    try:
        with Wire.to(server, "mqtt_tls").encrypted(context) as wire:
            wire.send(*packets)
            return wire.read(4)
    except (ssl.SSLError, ConnectionError):
        return b""


def without_token(sensor: Sensor, username: str | None = None) -> bytes:
    return Connect(
        "by-certificate", username=username, password=b"x" if username else None
    ).encode()


def shown(server: Server, root: Authority, port: str = "mqtt_tls") -> int:
    """@return: the serial number of the certificate that the server shows."""
    with Wire.to(server, port).encrypted(client_context(root)) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        certificate = wire.socket.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def test_tls_shows_its_chain_and_speaks_nothing_older_than_1_2(start, root, tmp_path):
    between = Authority(tmp_path, "between", root)
    server = start(mqtt=tls(between.issue("server")))
    sensor = server.add_sensor()
    context = client_context(root)  # trusts the root alone: the chain has to come along
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.minimum_version = context.maximum_version = version
        assert say(server, context, hello(sensor)) == CONNECTED
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(root.path)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    assert say(server, old, hello(sensor)) == b""
    weak = client_context(root)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA256:AES256-SHA")
    assert say(server, weak, hello(sensor)) == b""


def test_https_serves_what_http_does(start, root):
    pair = root.issue("server")
    files = {"tls_cert": pair.cert_path, "tls_key": pair.key_path}
    server = start(http={"tls_endpoint": LOCAL, **files})
    url = f"https://127.0.0.1:{server.ports['https']}/api/v1/health/readiness"
    with urllib.request.urlopen(url, context=client_context(root), timeout=15) as answer:
        assert answer.status == 200
        assert json.load(answer)
    for path in (b"/ws/v1", b"/socket.io/?EIO=4&transport=websocket"):
        with Wire.to(server, "https").encrypted(client_context(root)) as wire:
            wire.send(UPGRADE % path)
            assert wire.read(12) == b"HTTP/1.1 101"
            wire.send(b"\x89\x80mask")  # a ping, with no data
            while (octet := wire.read(1)) != b"\x8a":  # of the pong
                assert octet


def test_certificate_signs_its_device_in_and_nobody_else(start, root):
    server = start(mqtt=tls(root.issue("server"), ca=root.path))
    sensor, other = server.add_sensor(), server.add_sensor()
    context = client_context(root, root.issue(sensor.uuid))
    assert say(server, context, without_token(sensor)) == CONNECTED
    assert say(server, context, without_token(sensor, sensor.uuid)) == CONNECTED
    assert say(server, context, hello(other)) == REFUSED
    assert say(server, client_context(root, root.issue("stranger")), hello(sensor)) == REFUSED
    # Without a certificate the token is asked for as ever.
    assert say(server, client_context(root), hello(sensor)) == CONNECTED
    assert say(server, client_context(root), without_token(sensor)) == REFUSED
    with Wire.to(server, "mqtt_tls").encrypted(context) as wire:
        wire.send(without_token(sensor))
        wire.send(Subscribe(1, ((f"devices/{other.uuid}/datastream", 1),)).encode())
        assert wire.read(9) == CONNECTED + b"\x90\x03\x00\x01\x80"
        wire.send(
            Publish(
                sensor.datastream, b'{"value":"7","variableName":"temperature"}', 1, packet_id=2
            ).encode()
        )
        assert wire.read(4) == b"\x40\x02\x00\x02"
    assert [row["value"] for row in server.stored(sensor)] == ["7"]


def test_certificate_of_another_authority_is_refused_in_the_handshake(start, root, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "other")
    server = start(mqtt=tls(root.issue("server"), ca=root.path))
    sensor = server.add_sensor()
    context = client_context(root, stranger.issue(sensor.uuid))
    assert say(server, context, without_token(sensor)) == b""


def test_required_certificate_is_needed_beside_the_token(start, root):
    server = start(mqtt=tls(root.issue("server"), ca=root.path, client_certificates="required"))
    sensor = server.add_sensor()
    context = client_context(root, root.issue("any client of ours"))
    assert say(server, context, hello(sensor)) == CONNECTED
    assert say(server, context, without_token(sensor)) == REFUSED
    assert say(server, client_context(root), hello(sensor)) == b""


def test_revoked_certificate_ends_its_connection_and_is_refused_from_the_hangup_on(start, root):
    lost, kept = root.issue("lost"), root.issue("kept")
    crl = root.revoke()
    server = start(
        mqtt=tls(root.issue("server"), ca=root.path, crl=crl, client_certificates="required")
    )
    sensor, other = server.add_sensor(), server.add_sensor()
    with (
        Wire.to(server, "mqtt_tls").encrypted(client_context(root, lost)) as one,
        Wire.to(server, "mqtt_tls").encrypted(client_context(root, kept)) as two,
    ):
        for wire, holder in ((one, sensor), (two, other)):
            wire.send(hello(holder))
            assert wire.read(4) == CONNECTED
        root.revoke(lost)
        hang_up(server)
        assert one.rest() == b""
        two.send(PING)
        assert two.read(2) == PONG
    assert say(server, client_context(root, lost), hello(sensor)) == b""
    assert say(server, client_context(root, kept), hello(sensor)) == CONNECTED


def hang_up(server: Server) -> None:
    """Let the server read its configuration again, and wait until it has."""
    before = server.log.count("configuration read again")
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: server.log.count("configuration read again") > before, "it was read again")


def test_new_certificate_is_taken_on_hangup_without_dropping_clients(start, root):
    first = root.issue("server")
    server = start(mqtt=tls(first))
    sensor = server.add_sensor()
    with Wire.to(server, "mqtt_tls").encrypted(client_context(root)) as wire:
        wire.send(hello(sensor))
        assert wire.read(4) == CONNECTED
        second = root.issue("server")  # writes the same files
        hang_up(server)
        for port in ("mqtt_tls", "mqtt_websocket_tls"):
            assert shown(server, root, port) == second.certificate.serial_number
        wire.send(PING)
        assert wire.read(2) == PONG
        Path(second.cert_path).write_text("no certificate")
        hang_up(server)
        assert "certificates not taken over" in server.log
        assert shown(server, root) == second.certificate.serial_number


def test_acl_and_log_level_are_taken_over_on_hangup(start, tmp_path):
    server = start(mqtt={"acl": {"rules": [{"allow": "both", "topic": "old/#"}]}})
    sensor = server.add_sensor()
    config = tmp_path / "aemos.yaml"
    with Wire.to(server) as wire:
        wire.send(hello(sensor), Subscribe(1, (("old/x", 0), ("new/x", 0))).encode())
        assert wire.read(10) == CONNECTED + b"\x90\x04\x00\x01\x00\x80"
        settings = json.loads(config.read_text())
        settings["mqtt"]["acl"]["rules"] = [{"allow": "both", "topic": "new/#"}]
        settings["log"]["level"] = "error"
        config.write_text(json.dumps(settings))
        hang_up(server)
        wire.send(Subscribe(2, (("old/y", 0), ("new/x", 0))).encode())
        assert wire.read(6) == b"\x90\x04\x00\x02\x80\x00"
        # The old subscription ended with the rule that had granted it.
        wire.send(Publish("old/x", b"1").encode(), Publish("new/x", b"2").encode())
        assert wire.read(10) == Publish("new/x", b"2").encode()
    with Wire.to(server) as quiet:
        quiet.send(hello(sensor, "quiet"))
        assert quiet.read(4) == CONNECTED
    assert "'wire' connected" in server.log
    assert "'quiet' connected" not in server.log
    config.write_text("mqtt: {port: many}")
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: "configuration not taken over" in server.log, "the mistake is named")
    assert server.get("/api/v1/health/readiness")[0] == 200


def test_balancer_tells_who_the_client_is_and_nobody_else_can(start, root):
    server = start(
        mqtt={**tls(root.issue("server")), "proxy_protocol": ["127.0.0.1"]}, log={"level": "info"}
    )
    sensor = server.add_sensor()
    with Wire.to(server) as wire:
        wire.send(b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 1883\r\n", hello(sensor, "one"))
        assert wire.read(4) == CONNECTED
    with Wire.to(server, "mqtt_tls") as wire:
        v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\x08\x7f\0\0\1\x9c\x41\x22\xb3"
        wire.send(v2)
        with wire.encrypted(client_context(root)) as above:
            above.send(hello(sensor, "two"))
            assert above.read(4) == CONNECTED
    with Wire.to(server) as wire:
        wire.send(hello(sensor, "three"))
        assert wire.rest() == b""
    assert "'one' connected from 192.0.2.7:40000" in server.log
    assert "'two' connected from 192.0.2.8:40001" in server.log
    assert "PROXY header: no PROXY header" in server.log


def test_endpoint_may_be_a_unix_socket(start, tmp_path):
    path = tmp_path / "mqtt.sock"
    server = start(mqtt={"endpoint": f"unix:{path}"})
    sensor = server.add_sensor()
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(str(path))
    with Wire(connected) as wire:
        wire.send(hello(sensor), PING)
        assert wire.read(6) == CONNECTED + PONG


def test_endpoint_may_be_ipv6(start):
    server = start(mqtt={"host": "::1"})
    sensor = server.add_sensor()
    with Wire(socket.create_connection(("::1", server.ports["mqtt"]))) as wire:
        wire.send(hello(sensor), PING)
        assert wire.read(6) == CONNECTED + PONG


def test_endpoint_may_be_a_socket_of_systemd(start):
    server = start(
        mqtt={"endpoint": "systemd:domain=INET:index=0"},
        wrapper=[sys.executable, "-c", ACTIVATED],
    )
    sensor = server.add_sensor()
    with Wire.to(server) as wire:
        wire.send(hello(sensor), PING)
        assert wire.read(6) == CONNECTED + PONG
