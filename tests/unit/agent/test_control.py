"""The running agent's socket: what is asked is bounded, what is answered is whole, nobody blocks another."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator

import pytest

from agent import control
from agent.control import END, ControlServer, ask, ask_rotate, ask_status
from agent.errors import HardStop, TryAgain

REPORT = {"healthy": True, "device": "did:key:z6Mk"}


class Agent:
    """What a server asks of a node."""

    def __init__(self) -> None:
        self.fail: Exception | None = None
        self.asked: list[tuple[int, int]] = []

        self.proved = 0

    def prove(self) -> None:
        self.proved += 1

    def report(self) -> dict[str, object]:
        if self.fail:
            raise self.fail
        return dict(REPORT)

    def rotate(self) -> dict[str, object]:
        if self.fail:
            raise self.fail
        return {"new_key": "ab", "seq": 3}

    def export(self, since_s: int, until_s: int) -> Iterator[bytes]:
        self.asked.append((since_s, until_s))
        yield b"first"
        if self.fail:
            raise self.fail
        yield b"second" * 50_000


@pytest.fixture
def agent():
    return Agent()


@pytest.fixture
def path(tmp_path, agent, monkeypatch):
    monkeypatch.setattr(control, "_TIMEOUT_S", 0.3)
    server = ControlServer(tmp_path / "c.sock", agent.report, agent.export, agent.prove, agent.rotate)
    yield tmp_path / "c.sock"
    server.close()
    assert not (tmp_path / "c.sock").exists()


def raw(path, request, shut=False):
    """The bytes answered to `request`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(request)
        if shut:
            client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_the_socket_is_its_owners_only(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_the_report_comes_as_json(path):
    assert ask_status(path) == REPORT


def test_a_proof_may_be_asked_for(path, agent):
    assert raw(path, b"prove\n") == b'{"asked": true}'
    assert agent.proved == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"prove it\n",
        b"shutdown\n",
        b"status please\n",
        b"export\n",
        b"log\n",
        b"log -1\n",
        b"explain -1\n",
        b"explain 1 2\n",
        b"export 1\n",
        b"export -1 5\n",
        b"export 1 5 9\n",
        b"export a b\n",
        b"\xff\xfe\x00" * 30,
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 128,
    ],
)
def test_a_request_that_is_none_says_which_there_are(path, agent, request_):
    known = "status, log <limit>, explain [<seq>], prove, export <since> <until>, rotate, resume"
    problem = f"requests are: {known}"
    assert json.loads(raw(path, request_)) == {"problem": problem}
    assert agent.asked == []
    assert ask_status(path) == REPORT


def test_a_caller_that_hangs_up_at_once_is_no_matter(path):
    raw(path, b"", shut=True)
    assert ask_status(path) == REPORT


def test_one_that_says_nothing_keeps_others_waiting_no_longer_than_the_limit(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(path))
        assert ask_status(path) == REPORT


def test_one_that_takes_nothing_off_the_line_is_given_up(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy:
        lazy.connect(str(path))
        lazy.sendall(b"export 0 9\n")  # 300 kB that it never reads
        assert ask_status(path) == REPORT


def test_a_whole_export_ends_in_the_marker(path, agent):
    answer = b"".join(ask(path, "export 3 7"))
    assert answer == b"first" + b"second" * 50_000 + END
    assert agent.asked == [(3, 7)]


def test_an_export_that_breaks_off_never_looks_whole(path, agent):
    agent.fail = TryAgain("The journal did not answer.")
    try:
        answer = b"".join(ask(path, "export 3 7"))
    except TryAgain:
        answer = b""  # a reset
    assert not answer.endswith(END)
    agent.fail = None
    assert ask_status(path) == REPORT


@pytest.mark.parametrize("error", [TryAgain("busy."), ValueError("a bug"), OverflowError()])
def test_no_failure_of_a_report_ends_the_server(path, agent, error):
    agent.fail = error
    with pytest.raises(TryAgain):
        ask_status(path)
    agent.fail = None
    assert ask_status(path) == REPORT


def test_a_number_beyond_all_times_is_the_exports_matter_and_ends_nothing(path, agent):
    raw(path, b"export 0 " + b"9" * 100 + b"\n")
    assert agent.asked == [(0, int("9" * 100))]
    assert ask_status(path) == REPORT


def test_where_no_agent_runs_it_says_how_to_start_one(tmp_path):
    with pytest.raises(TryAgain, match="start it with fieldproof-agent run"):
        ask_status(tmp_path / "none.sock")


def test_a_socket_left_by_a_killed_agent_is_taken_over(tmp_path, agent):
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(TryAgain):
        ask_status(path)
    server = ControlServer(path, agent.report, agent.export, agent.prove, agent.rotate)
    assert ask_status(path) == REPORT
    server.close()


def test_a_folder_too_deep_for_a_socket_is_a_hard_stop(tmp_path, agent):
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    with pytest.raises(HardStop, match="short state_dir"):
        ControlServer(deep / "control.sock", agent.report, agent.export, agent.prove, agent.rotate)


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"[1]", b'{"problem": "x"}', b"x" * 1_100_000])
def test_what_answers_and_is_no_agent_is_said(tmp_path, answer):
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen(1)

        def serve() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(100)
                try:
                    connection.sendall(answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(TryAgain, match="is not a fieldproof agent"):
            ask_status(path)
        thread.join(5)


def test_a_rotation_is_answered_with_what_was_done_or_with_the_sentence_why_not(path, agent):
    assert ask_rotate(path) == {"new_key": "ab", "seq": 3}
    for failure in (TryAgain("Not now."), HardStop("Never like this.")):
        agent.fail = failure
        with pytest.raises(type(failure), match=failure.sentence):
            ask_rotate(path)


def test_an_agent_that_does_not_know_the_request_is_named_as_another_version(path, agent):
    agent.fail = RuntimeError("a defect")
    with pytest.raises(TryAgain):
        ask_rotate(path)
