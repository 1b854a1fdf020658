"""What holds for every request: paths, headers, limits, time-outs, the end of the server."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from io import BytesIO
from typing import Any, ClassVar

import attrs
import msgspec
import pytest
import pytest_twisted
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, Cooperator, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource

from aemos import json
from aemos.config.schema import Http
from aemos.errors import Conflict, DuplicateRow, StartError, StorageUnavailable, Unauthenticated
from aemos.http.auth import Authenticator
from aemos.http.door import HttpDoor
from aemos.http.endpoint import Api
from aemos.http.render import Answer, Shape, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import Body, Query
from aemos.http.site import Site, build_site
from aemos.model import Principal, PrincipalKind
from aemos.services.catalogue import Catalogue


class Users:
    """Two users without a database."""

    async def principal_for_token(self, token: str) -> Principal:
        if token == "member":
            return Principal(PrincipalKind.USER, permissions={1: frozenset({"thing.view"})})
        if token == "stranger":
            return Principal(PrincipalKind.USER, permissions={1: frozenset()})
        raise Unauthenticated("Invalid token")


class Child(Resource):
    """What another door serves on the same port."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"child"


class Size(Query):
    size: int = 3


class Thing(Body):
    name: str
    count: int = 0
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


_FORM = "application/x-www-form-urlencoded"


class Things:
    """Routes that do what the tests need."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/things", "/api/v1/stuff")

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.finished: list[str] = []

    @route("GET", "", auth=Auth.OPEN)
    async def text(self, call: Call, query: Size) -> Answer:
        """Text of a length."""
        return success(data="x" * query.size)

    @route("GET", "/test", auth=Auth.OPEN)
    async def literal(self, call: Call) -> Answer:
        """A literal beside a parameter."""
        return success(data="literal")

    @route("GET", "/<id>", permission="thing.view", errors=Shape.E2)
    async def by_id(self, call: Call, id: int) -> Answer:
        """One by id."""
        if id == 13:
            raise Conflict("unlucky")
        return success(data=id)

    @route("GET", "/named/<name>", auth=Auth.OPEN)
    async def by_name(self, call: Call, name: str) -> Answer:
        """One by name."""
        return success(data=name)

    @route("POST", "", auth=Auth.OPEN, status=201, aliases=("/api/things",))
    async def create(self, call: Call, body: Thing) -> Answer:
        """Echo."""
        return success(data=body)

    @route("DELETE", "", auth=Auth.OPEN, status=204)
    async def delete(self, call: Call) -> Answer:
        """Nothing to say."""
        return Answer()

    @route("POST", "/failing/<how>", auth=Auth.OPEN)
    async def failing(self, call: Call, how: str) -> Answer:
        """Fail in a way."""
        raise {
            "fault": RuntimeError("SELECT secret FROM User"),
            "away": StorageUnavailable("cannot connect to db.internal:3306"),
            "duplicate": DuplicateRow("Duplicate entry", "User.email"),
        }[how]

    @route("POST", "/slow/<name>", auth=Auth.OPEN)
    async def slow(self, call: Call, name: str) -> Answer:
        """Answer when the test says so."""
        gate: Deferred[None] = Deferred()
        self.waiting.append(gate)
        await gate
        self.finished.append(name)
        return success(data=name)


@attrs.frozen
class Response:
    """An answer as it came over the wire."""

    code: int
    headers: Headers
    raw: bytes
    length: int | object

    def __getitem__(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return None if values is None else ", ".join(values)

    @property
    def body(self) -> Any:
        return json.decode(self.raw)


@attrs.define
class Served:
    """A site on a port."""

    things: Things
    site: Site
    door: HttpDoor
    agent: Agent
    observed: list[tuple[Any, ...]]

    async def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """@param body: sent as JSON, bytes as they are."""
        sent = Headers({name: [value] for name, value in (headers or {}).items()})
        producer = None
        if body is not None:
            producer = FileBodyProducer(
                BytesIO(body if isinstance(body, bytes) else json.encode(body)),
                cooperator=COOPERATOR,
            )
            if not sent.hasHeader("Content-Type"):
                sent.setRawHeaders("Content-Type", ["application/json"])
        url = f"http://127.0.0.1:{self.door.port}{path}"
        response = await self.agent.request(method.encode(), url.encode(), sent, producer)
        return Response(
            response.code, response.headers, await treq.content(response), response.length
        )


COOPERATOR = Cooperator(scheduler=lambda work: reactor.callLater(0, work))


async def serve(settings: Http | None = None, grace: float = 60.0) -> Served:
    settings = settings or Http(rate_limit=False)
    things, observed = Things(), list[tuple[Any, ...]]()
    site = build_site(
        Api([things], Authenticator(Users(), CATALOGUE, reactor)),
        settings,
        reactor,
        children={"/ws/v1": Child()},
        observe=lambda *figures: observed.append(figures),
    )
    door = HttpDoor(site, "tcp:0:interface=127.0.0.1", reactor, grace)
    await door.listen()
    agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    return Served(things, site, door, agent, observed)


CATALOGUE: Any = object.__new__(Catalogue)  # no route here asks it


@pytest_twisted.async_yield_fixture
async def served() -> AsyncIterator[Served]:
    opened = await serve()
    yield opened
    await opened.door.stopService()


async def test_paths_have_no_case_and_no_final_slash_but_parameters_do(served: Served) -> None:
    for path in ("/api/v1/things", "/API/V1/Things", "/api/v1/things/", "/api/v1/STUFF//"):
        assert (await served.call("GET", path)).body["data"] == "xxx", path
    named = await served.call("GET", "/Api/v1/THINGS/Named/SoilMoisture%20One")
    assert named.body["data"] == "SoilMoisture One"
    assert (await served.call("GET", "/api/v1/things/TEST")).body["data"] == "literal"
    assert (await served.call("POST", "/Api/Things", {"name": "x"})).code == 201


async def test_what_is_unknown_is_a_json_404(served: Served) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/api/v1/nothing?a=b"),
        ("PUT", "/api/v1/things"),
        ("GET", "/api/v1//things"),
        ("POST", "/ws"),
        ("GET", "/ws/v2"),
        ("GET", "/api/v1/things/named/a%2Fb"),
    ):
        answer = await served.call(method, path)
        assert answer.code == 404, path
        assert answer.body == {
            "status": "error",
            "message": f"Cannot find {path} on this server!",
        }
        assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert (await served.call("GET", "/%ff")).code == 400


async def test_head_answers_like_get_without_a_body(served: Served) -> None:
    get, head = [await served.call(m, "/api/v1/things?size=10") for m in ("GET", "HEAD")]
    assert (head.code, head.raw) == (200, b"")
    assert head["Content-Length"] == str(get.length) == str(len(get.raw))
    assert head["ETag"] == get["ETag"]


async def test_cors_is_open_on_every_answer(served: Served) -> None:
    for path in ("/api/v1/things", "/nothing", "/ws/v1"):
        assert (await served.call("GET", path))["Access-Control-Allow-Origin"] == "*"
    wanted = {"Access-Control-Request-Headers": "authorization,x-mine", "Origin": "http://a"}
    preflight = await served.call("OPTIONS", "/api/v1/things/5", headers=wanted)
    assert (preflight.code, preflight.raw) == (204, b"")
    assert preflight["Access-Control-Allow-Origin"] == "*"
    assert preflight["Access-Control-Allow-Methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
    assert preflight["Access-Control-Allow-Headers"] == "authorization,x-mine"
    assert preflight["Vary"] == "Access-Control-Request-Headers"
    assert preflight.length == 0
    assert preflight["X-Frame-Options"] is None


async def test_answers_carry_the_security_headers_and_no_advertisement(served: Served) -> None:
    for path in ("/api/v1/things", "/api/v1/nothing"):
        answer = await served.call("GET", path)
        assert (answer["Content-Security-Policy"] or "").startswith("default-src 'self';base-uri")
        for name, value in {
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Origin-Agent-Cluster": "?1",
            "Referrer-Policy": "no-referrer",
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
            "X-DNS-Prefetch-Control": "off",
            "X-Download-Options": "noopen",
            "X-Frame-Options": "SAMEORIGIN",
            "X-Permitted-Cross-Domain-Policies": "none",
            "X-XSS-Protection": "0",
            "X-Powered-By": None,
            "Server": None,
        }.items():
            assert answer[name] == value, name


async def test_long_answers_are_compressed_for_those_who_take_it(served: Served) -> None:
    path = "/api/v1/things?size=5000"
    plain = await served.call("GET", path)
    assert (plain["Content-Encoding"], plain["Vary"]) == (None, "Accept-Encoding")
    for accepted, coding, undone in (
        ("gzip, deflate, br", "gzip", gzip.decompress),
        ("deflate", "deflate", zlib.decompress),
        ("gzip;q=0, deflate;q=0.5", "deflate", zlib.decompress),
        ("*", "gzip", gzip.decompress),
    ):
        answer = await served.call("GET", path, headers={"Accept-Encoding": accepted})
        assert answer["Content-Encoding"] == coding, accepted
        assert answer.length == len(answer.raw)
        assert undone(answer.raw) == plain.raw
    for accepted in ("br", "gzip;q=0", "identity"):
        answer = await served.call("GET", path, headers={"Accept-Encoding": accepted})
        assert answer["Content-Encoding"] is None
    short = await served.call("GET", "/api/v1/things", headers={"Accept-Encoding": "gzip"})
    assert (short["Content-Encoding"], short["Vary"]) == (None, None)


async def test_an_etag_that_still_fits_gives_304(served: Served) -> None:
    first = await served.call("GET", "/api/v1/things")
    tag = first["ETag"] or ""
    assert tag.startswith('W/"')
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = await served.call("GET", "/api/v1/things", headers={"If-None-Match": known})
        assert (again.code, again.raw, again["ETag"]) == (304, b"", tag)
        assert again["Vary"] is None
    other = await served.call("GET", "/api/v1/things?size=4", headers={"If-None-Match": tag})
    assert other.code == 200
    assert other["ETag"] != tag
    long = await served.call("GET", "/api/v1/things?size=5000")
    known = {"If-None-Match": long["ETag"] or ""}
    again = await served.call("GET", "/api/v1/things?size=5000", headers=known)
    assert (again.code, again["Vary"]) == (304, "Accept-Encoding")


async def test_of_a_repeated_query_key_the_last_value_counts(served: Served) -> None:
    assert (await served.call("GET", "/api/v1/things?size=9&size=2")).body["data"] == "xx"


async def test_bodies_come_as_json_or_urlencoded_and_anything_else_is_empty(served: Served) -> None:
    async def sent(body: bytes, content_type: str) -> Response:
        return await served.call("POST", "/api/v1/things", body, {"Content-Type": content_type})

    for body, content_type in (
        (b'{"name":"a","count":"5"}', "application/json; charset=utf-8"),
        (b"name=a&count=5", _FORM),
        (b"name=b&name=a&count=5", "Application/X-WWW-Form-Urlencoded"),
    ):
        answer = await sent(body, content_type)
        assert answer.code == 201
        assert answer.body["data"] == {"name": "a", "count": 5, "extra": {}}
    for body, content_type in ((b'{"name":"a"}', "text/plain"), (b"", "application/json")):
        answer = await sent(body, content_type)
        assert answer.code == 400
        assert answer.body["message"] == 'Invalid request body: "name" is required'
    nested = await sent(b"name=a&extra[a][b]=1&extra[c]=2&extra[a][d]=3", _FORM)
    assert nested.body["data"]["extra"] == {"a": {"b": "1", "d": "3"}, "c": "2"}
    for body in (b"[name]=a", b"name[=a", b"name[a]=b", b"extra" + b"[a]" * 6 + b"=1"):
        assert (await sent(body, _FORM)).code == 400, body
    marked = await sent(b'\xef\xbb\xbf{"name":"a"}', "application/json")
    assert marked.code == 201
    for body in (b"{", b'"text"', b"NaN", b"{'name':1}", b"[" * 100_000, b'{"name":"\xff"}'):
        answer = await sent(body, "application/json")
        assert answer.code == 400
        assert answer.body["status"] == answer.body["statusCode"] == 400
    multipart = await sent(b"--x\r\n", "multipart/form-data; boundary=x")
    assert multipart.code == 400


async def test_a_compressed_body_is_read_like_any_other() -> None:
    served = await serve(Http(rate_limit=False, max_body=1000))

    async def sent(body: bytes, coding: str) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        answer = await served.call("POST", "/api/v1/things", body, headers)
        return answer.code, answer.body

    try:
        body = b'{"name":"a"}'
        for content, coding in (
            (gzip.compress(body), "gzip"),
            (zlib.compress(body), "Deflate"),
            (body, "identity"),
        ):
            assert (await sent(content, coding))[0] == 201, coding
        for content, coding, status in (
            (body, "gzip", 400),
            (gzip.compress(body)[:-9], "gzip", 400),
            (gzip.compress(b" " * 1001), "gzip", 413),
            (body, "br", 415),
        ):
            code, answer = await sent(content, coding)
            assert code == answer["status"] == answer["statusCode"] == status
        exact = gzip.compress(body + b" " * (1000 - len(body)))
        assert (await sent(exact, "gzip"))[0] == 201
    finally:
        await served.door.stopService()


async def test_the_target_may_be_absolute_and_the_host_must_be_named_once(served: Served) -> None:
    for target in (
        b"http://other.example:80/api/v1/things?size=2",
        b"HTTPS://[::1]/api/v1/things?size=2",
    ):
        answer = await talk(served, b"GET " + target + b" HTTP/1.1", b"A: b")
        assert answer.endswith(b'"data":"xx"}'), target
    bare = await talk(served, b"GET http://other.example?a=b HTTP/1.1", b"A: b")
    assert b"Cannot find /?a=b on this server!" in bare
    get = b"GET /api/v1/things HTTP/1."
    for version, headers, status in (
        (b"1", b"X-Host:", b"400"),
        (b"0", b"X-Host:", b"200"),
        (b"1", b"Host: a\r\nHost: a", b"400"),
        (b"1", b"Host:", b"200"),
    ):
        answer = await talk(served, get + version, headers)
        assert answer.split(b" ")[1] == status, (version, headers)


async def test_a_delete_answers_204_with_nothing(served: Served) -> None:
    answer = await served.call("DELETE", "/api/v1/things")
    assert (answer.code, answer.raw, answer["Content-Type"]) == (204, b"", None)


async def test_checks_come_in_order_authentication_validation_permission(served: Served) -> None:
    async def asked(path: str, token: str) -> Response:
        return await served.call("GET", path, headers={"Authorization": f"Bearer {token}"})

    assert (await served.call("GET", "/api/v1/things/1")).code == 401
    assert (await asked("/api/v1/things/1", "nobody")).code == 401
    assert (await asked("/api/v1/things/1", "stranger")).code == 403
    assert (await asked("/api/v1/things/x", "stranger")).code == 403
    assert (await asked("/api/v1/things/x", "member")).code == 404
    assert (await asked("/api/v1/things/1", "member")).body["data"] == 1


async def test_the_two_error_shapes(served: Served) -> None:
    token = {"Authorization": "Bearer member"}
    e2 = await served.call("GET", "/api/v1/things/13", headers=token)
    assert (e2.code, e2.body) == (409, {"status": "error", "message": "unlucky"})
    e1 = await served.call("GET", "/api/v1/things/13")
    message = "Authentication required"
    assert e1.body == {"status": "fail", "statusCode": 401, "message": message}


async def test_faults_are_logged_and_not_shown(served: Served) -> None:
    seen: list[Any] = []

    def observe(event: Any) -> None:
        if event["log_level"] is LogLevel.critical:
            seen.append(dict(event))
            event["log_level"] = LogLevel.error  # what the hygiene of the tests looks for

    globalLogPublisher._observers.insert(0, observe)
    try:
        answer = await served.call("POST", "/api/v1/things/failing/fault")
    finally:
        globalLogPublisher.removeObserver(observe)
    assert answer.code == 500
    message = "Internal server error"
    assert answer.body == {"status": "error", "statusCode": 500, "message": message}
    (event,) = seen
    assert event["id"] == answer["X-Request-Id"]
    assert "SELECT secret" in event["log_failure"].getTraceback()


async def test_storage_that_is_away_is_503_and_a_collision_400(served: Served) -> None:
    away = await served.call("POST", "/api/v1/things/failing/away")
    assert (away.code, away["Retry-After"], away.body["status"]) == (503, "1", "error")
    assert "internal" not in away.body["message"]
    taken = await served.call("POST", "/api/v1/things/failing/duplicate")
    assert (taken.code, taken.body["message"]) == (400, "A unique constraint was violated")


async def test_a_body_over_the_limit_is_413_whether_it_says_so_or_not() -> None:
    served = await serve(Http(rate_limit=False, max_body=1000))
    try:
        exact = await served.call("POST", "/api/v1/things", b'{"name":"%s"}' % (b"x" * 989))
        assert exact.code == 201
        for size in (1001, 300_000):
            answer = await served.call("POST", "/api/v1/things", b"x" * size)
            assert answer.code == 413
            assert answer.body["status"] == answer.body["statusCode"] == 413
        body = b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"
        raw = await talk(
            served, b"POST /api/v1/things HTTP/1.1", b"Transfer-Encoding: chunked", body
        )
        assert raw.startswith(b"HTTP/1.1 413 ")
    finally:
        await served.door.stopService()


async def test_too_many_headers_or_too_long_ones_are_refused(served: Served) -> None:
    many = b"\r\n".join(b"X-%d: y" % number for number in range(101))
    get, long = b"GET /api/v1/things HTTP/1.1", b"y" * 20_000
    assert (await talk(served, get, many)).startswith(b"HTTP/1.1 400 ")
    nonsense = await talk(served, b"nonsense", b"A: b")
    assert nonsense.startswith(b"HTTP/1.1 400 ")
    assert json.decode(nonsense.partition(b"\r\n\r\n")[2])["statusCode"] == 400
    assert (await talk(served, get, b"X-Long: " + long)).startswith(b"HTTP/1.1 431 ")
    assert (await talk(served, b"GET /" + long + b" HTTP/1.1", b"A: b")).startswith(
        b"HTTP/1.1 431 "
    )


async def test_headers_that_are_no_text_are_read_all_the_same(served: Served) -> None:
    odd = await talk(served, b"GET /api/v1/things HTTP/1.1", b"Host: \xff..\xfe:x")
    assert odd.startswith(b"HTTP/1.1 200 ")
    stranger = b"Authorization: Bearer \xff\xfe"
    assert (await talk(served, b"GET /api/v1/things/1 HTTP/1.1", stranger)).startswith(
        b"HTTP/1.1 401 "
    )


async def test_requests_beyond_the_limit_are_429_until_the_window_is_over() -> None:
    served = await serve(Http(rate_limit_max=2, rate_limit_window_ms=60_000))
    try:
        first = await served.call("GET", "/api/v1/things")
        assert first["X-RateLimit-Limit"] == first["RateLimit-Limit"] == "2"
        assert first["X-RateLimit-Remaining"] == first["RateLimit-Remaining"] == "1"
        assert first["RateLimit-Policy"] == "2;w=60"
        assert 0 < int(first["RateLimit-Reset"] or 0) <= 60
        assert 0 <= int(first["X-RateLimit-Reset"] or 0) - reactor.seconds() <= 61
        assert (await served.call("GET", "/API/v1/nothing")).code == 404
        refused = await served.call("GET", "/api/v1/things")
        assert refused.code == 429
        assert refused.raw == b"Too many requests, please try again later"
        assert refused["Content-Type"] == "text/html; charset=utf-8"
        assert refused["RateLimit-Remaining"] == "0"
        assert 0 < int(refused["Retry-After"] or 0) <= 60
        for path in ("/elsewhere", "/"):
            assert (await served.call("GET", path))["RateLimit-Limit"] is None
        assert (await served.call("OPTIONS", "/api/v1/things")).code == 204
    finally:
        await served.door.stopService()


async def test_attached_resources_answer_at_their_path(served: Served) -> None:
    answer = await served.call("GET", "/ws/v1")
    assert (answer.code, answer.raw) == (200, b"child")


async def test_each_answer_is_told_to_the_observer_by_route(served: Served) -> None:
    await served.call("GET", "/api/v1/stuff/named/x")
    await served.call("GET", "/api/v1/things/13")
    await served.call("GET", "/nothing")
    (known, own, unknown) = [figures[:3] for figures in served.observed]
    assert own == ("GET", "/api/v1/things/:id", 401)
    assert known == ("GET", "/api/v1/things/named/:name", 200)
    assert unknown == ("GET", "", 404)
    assert all(0 <= figures[3] < 5 for figures in served.observed)


async def test_requests_are_logged_without_query_and_tokens(served: Served) -> None:
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace") == "aemos.http.site.Site":
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        await served.call("GET", f"/api/v1/things/named/{'ab' * 32}?token=secret")
    finally:
        globalLogPublisher.removeObserver(observe)
    (line,) = lines
    assert line.startswith("GET /api/v1/things/named/... 200 ")


async def test_stopping_finishes_what_is_in_progress_and_takes_no_more() -> None:
    served = await serve()
    first = Connection()
    await connect(served, first)
    first.send(b"POST /api/v1/things/slow/first HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    idle = Connection()
    await connect(served, idle)
    await until(lambda: len(served.things.waiting) == 1 and len(served.site.connections) == 2)
    port = served.door.port
    stopped = served.door.stopService()
    await idle.closed
    assert not stopped.called
    with pytest.raises(ConnectionRefusedError):
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port or 0).connect(
            Factory.forProtocol(Protocol)
        )
    served.things.waiting[0].callback(None)
    await until(lambda: bool(stopped.called))
    await first.closed
    assert first.received.startswith(b"HTTP/1.1 200 ")
    assert served.things.finished == ["first"]


async def test_a_request_that_is_half_received_when_the_server_stops_is_answered() -> None:
    served = await serve()
    connection = Connection()
    await connect(served, connection)
    connection.send(b"GET /api/v1/things HTTP/1.1\r\nHost: ")
    await until(lambda: any(channel.requests for channel in served.site.connections))
    stopped = served.door.stopService()
    connection.send(b"x\r\n\r\n")
    await until(lambda: bool(stopped.called))
    await connection.closed
    assert connection.received.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in connection.received


async def test_stopping_cuts_off_what_takes_too_long() -> None:
    served = await serve(grace=0.05)
    connection = Connection()
    await connect(served, connection)
    connection.send(b"POST /api/v1/things/slow/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: len(served.things.waiting) == 1)
    await served.door.stopService()
    await connection.closed
    served.things.waiting[0].callback(None)


async def test_work_goes_on_when_the_client_goes_away(served: Served) -> None:
    """A change that was committed must still be told to the rest of the server."""
    connection = Connection()
    await connect(served, connection)
    connection.send(b"POST /api/v1/things/slow/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: len(served.things.waiting) == 1)
    connection.abort()
    await until(lambda: not served.site.connections)
    served.things.waiting[0].callback(None)
    assert served.things.finished == ["x"]


async def test_a_port_in_use_is_one_clear_line(served: Served) -> None:
    endpoint = f"tcp:{served.door.port}:interface=127.0.0.1"
    second = HttpDoor(served.site, endpoint, reactor, 1.0)
    with pytest.raises(StartError, match=r"^HTTP cannot listen on tcp:"):
        await second.listen()
    assert second.port is None


def connected(clock: Clock, max_body: int = 10_000) -> tuple[Any, StringTransport]:
    """@return: a connection of a site that lives by `clock`, and what it writes to."""
    api = Api([Things()], Authenticator(Users(), CATALOGUE, clock))
    site = build_site(api, Http(rate_limit=False, request_timeout=30, max_body=max_body), clock)
    channel, transport = site.buildProtocol(None), StringTransport()
    channel.makeConnection(transport)
    return channel, transport


def test_a_request_that_trickles_in_is_dropped_in_time() -> None:
    clock = Clock()
    channel, transport = connected(clock)
    clock.advance(29)
    channel.dataReceived(b"G")
    for byte in b"ET / HTTP/1.1\r\nX: " + b"y" * 9:
        clock.advance(1)
        channel.dataReceived(bytes([byte]))
    assert not transport.disconnecting
    clock.advance(3)
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    assert not clock.getDelayedCalls()


def test_a_body_that_never_ends_is_dropped_in_time() -> None:
    clock = Clock()
    channel, transport = connected(clock)
    channel.dataReceived(b"POST /api/v1/things HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(29):
        clock.advance(1)
        channel.dataReceived(b"x")
    assert not transport.disconnecting
    clock.advance(1)
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))


def test_a_body_over_the_limit_is_not_kept() -> None:
    channel, _ = connected(Clock(), max_body=1000)
    channel.dataReceived(b"POST /api/v1/things HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        channel.dataReceived(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert channel.requests[0].content.tell() <= 1000
    channel.connectionLost(Failure(ConnectionDone()))


def test_an_idle_connection_is_dropped_and_each_request_starts_the_clock_anew() -> None:
    clock = Clock()
    channel, transport = connected(clock)
    for _ in range(3):
        clock.advance(29)
        channel.dataReceived(b"GET /api/v1/things HTTP/1.1\r\nHost: x\r\n\r\n")
    assert transport.value().count(b"HTTP/1.1 200 ") == 3
    clock.advance(29)
    assert not transport.disconnecting
    clock.advance(1)
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    assert not clock.getDelayedCalls()


class Connection(Protocol):
    """A client that sends bytes and collects what comes."""

    def __init__(self) -> None:
        self.received, self.closed = b"", Deferred[None]()

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


async def connect(served: Served, connection: Connection) -> None:
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", served.door.port or 0)
    await connectProtocol(endpoint, connection)


async def talk(served: Served, line: bytes, headers: bytes, body: bytes = b"") -> bytes:
    """Send one request as given. @return: all that comes until the server closes."""
    connection = Connection()
    await connect(served, connection)
    host = b"" if b"Host:" in headers else b"Host: aemos.example\r\n"
    connection.send(line + b"\r\nConnection: close\r\n" + host + headers + b"\r\n\r\n" + body)
    await connection.closed
    return connection.received


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Let the reactor turn until the condition holds."""
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, "it did not come true in time"
        await deferLater(reactor, 0.005)
