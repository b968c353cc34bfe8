"""Which requests a page answers, and with what: the WSGI application alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from web import app, response
from web.response import Answer, NotAnswered, as_download, as_json, as_text, whole_number

PI = "10.1.2.3:8733"


class Reply:
    def __init__(self, application, path="/", method="GET", host=PI, remote="10.1.2.9", **more):
        self.status, self.headers = "", {}
        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": remote,
            "HTTP_HOST": host,
            **more,
        }
        pieces = application(environ, self._start)
        self.body = b"".join(pieces)
        getattr(pieces, "close", lambda: None)()

    def _start(self, status, headers):
        self.status, self.headers = status[:3], dict(headers)
        assert len(headers) == len(self.headers), "a header was said twice"


def broken(_query) -> Answer:
    raise RuntimeError("secret inner workings")


def endless(_query) -> Answer:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    return as_download(pieces(), "evidence.cbor")


@pytest.fixture
def page():
    handlers = {
        "/": lambda query: as_text(f"hello {sorted(query.items())}"),
        "/api": lambda query: as_json({"hours": whole_number(query, "hours", 48, 1, 48)}),
        "/broken": broken,
        "/file": endless,
    }
    return app.make(handlers, response.files(response.STATIC, "/static/"), home_only=True, name="station")


def test_a_page_is_read(page):
    reply = Reply(page, "/")
    assert (reply.status, reply.body) == ("200", b"hello []")
    assert reply.headers["Content-Length"] == "8"
    assert reply.headers["Cache-Control"] == "no-store"


def test_every_answer_carries_the_security_headers(page):
    for path in ("/", "/api", "/broken", "/nowhere", "/static/shared.css", "/file"):
        headers = Reply(page, path).headers
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 50])
def test_a_page_can_only_be_read(page, method):
    reply = Reply(page, "/", method=method)
    assert reply.status == "405"
    assert reply.headers["Allow"] == "GET, HEAD"


def test_head_says_what_get_would_without_the_body(page):
    get, head = Reply(page, "/"), Reply(page, "/", method="HEAD")
    assert head.body == b""
    assert head.headers == get.headers


@pytest.mark.parametrize(
    "host",
    [
        PI,
        "192.168.1.20",
        "localhost:8733",
        "LOCALHOST",
        "station",
        "Station:8733",
        "pi.local",
        "pi.local.:8733",
        "[fe80::1]:8733",
        "[::1]",
    ],
)
def test_a_page_is_asked_for_by_address_or_own_name(page, host):
    assert Reply(page, host=host).status == "200"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8733",
        "station.evil.example",
        "local",
        "pi.local.evil.example",
        "10.1.2.3.evil.example",
        "[::1].evil",
        "[evil",
        "localhost@evil",
        "localhost evil",
        "10.1.2.3,evil.example",
    ],
)
def test_a_name_that_was_pointed_at_us_is_refused(page, host):
    assert Reply(page, host=host).status == "421"


@pytest.mark.parametrize(
    "remote",
    "127.0.0.1 10.9.9.9 172.31.0.1 192.168.0.7 169.254.3.4 ::1 fd12::5 fe80::1%e0 ::ffff:192.168.0.7".split(),
)
def test_the_home_is_answered(page, remote):
    assert Reply(page, remote=remote).status == "200"


@pytest.mark.parametrize(
    "remote",
    [
        "8.8.8.8",
        "172.32.0.1",
        "100.64.0.1",
        "192.0.2.1",
        "2001:db8::1",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "",
        "x",
    ],
)
def test_the_world_is_not_answered(page, remote):
    assert Reply(page, remote=remote).status == "403"


def test_an_operators_page_answers_the_world():
    page = app.make({"/": lambda _: as_text("hello")}, {}, home_only=False, name="gw")
    assert Reply(page, remote="8.8.8.8", host="gw").status == "200"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/",
        "/../../etc/passwd",
        "//etc/passwd",
        "/static/shared.css/",
        "/static/shared.css\0.txt",
        "/STATIC/shared.css",
        "",
        "*",
    ],
)
def test_what_is_not_in_the_table_is_not_there(page, path):
    assert Reply(page, path).status == "404"


def test_a_number_out_of_range_is_refused_in_a_sentence(page):
    assert json.loads(Reply(page, "/api").body) == {"hours": 48}
    assert json.loads(Reply(page, "/api?hours=7").body) == {"hours": 7}
    for text in ("0", "49", "-1", "1.5", "1e3", "x", "9" * 5000, "%D9%A3", "<script>"):
        reply = Reply(page, f"/api?hours={text}")
        assert (reply.status, reply.body) == ("400", b"hours must be a whole number from 1 to 48.\n")


def test_a_query_of_many_fields_is_refused(page):
    assert Reply(page, "/?" + "&".join(f"a{n}=1" for n in range(9))).status == "400"


def test_a_bug_is_one_sentence_and_no_inner_workings(page):
    reply = Reply(page, "/broken")
    assert (reply.status, reply.body) == ("500", b"This page could not be made; the log says why.\n")


def test_a_refusal_of_a_handler_is_told():
    def refuse(_query) -> Answer:
        raise NotAnswered(HTTPStatus.SERVICE_UNAVAILABLE, "One download at a time.")

    reply = Reply(app.make({"/": refuse}, {}, home_only=False), host="localhost")
    assert (reply.status, reply.body) == ("503", b"One download at a time.\n")


def test_a_download_is_saved_and_never_shown(page):
    reply = Reply(page, "/file")
    assert reply.body == b"ab"
    assert reply.headers["Content-Disposition"] == 'attachment; filename="evidence.cbor"'
    assert "Content-Length" not in reply.headers


def test_of_long_answers_one_is_made_at_a_time():
    slot = response.OneAtATime()
    handlers = {"/long": lambda _: as_download(slot(lambda: iter([b"a"])), "a.bin")}
    page = app.make(handlers, {}, home_only=False, name="gw")
    under_way = slot(lambda: iter([b"a", b"b"]))
    assert Reply(page, "/long", host="gw").status == "503"
    under_way.close()
    under_way.close()  # again does no harm
    assert Reply(page, "/long", host="gw", method="HEAD").status == "200"
    assert Reply(page, "/long", host="gw").status == "200", "a HEAD kept the slot"


def test_a_long_answer_that_cannot_be_begun_keeps_nobody_out():
    slot = response.OneAtATime()

    def fail():
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        slot(fail)
    assert list(slot(lambda: [b"a"])) == [b"a"]


def test_a_file_is_sent_once_and_again_when_it_changed(tmp_path: Path):
    (tmp_path / "index.html").write_text("<p>one")
    (tmp_path / "notes.py").write_text("not part of a page")
    found = response.files(tmp_path, "/")
    assert list(found) == ["/"]
    page = app.make({}, found, home_only=False, name="gw")
    first = Reply(page, host="gw")
    assert (first.status, first.headers["Content-Type"]) == ("200", "text/html; charset=utf-8")
    again = Reply(page, host="gw", HTTP_IF_NONE_MATCH=first.headers["ETag"])
    assert (again.status, again.body) == ("304", b"")
    (tmp_path / "index.html").write_text("<p>two")
    page = app.make({}, response.files(tmp_path, "/"), home_only=False, name="gw")
    assert Reply(page, host="gw", HTTP_IF_NONE_MATCH=first.headers["ETag"]).status == "200"
