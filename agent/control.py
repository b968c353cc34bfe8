"""The running agent's own socket: `control.sock` in the state folder, mode 0600.

- A request is one line of at most 128 bytes: `status`, `log <limit>`, `explain` or `explain <seq>`, `prove`
  (read all instruments now and seal a proof), `export <since> <until>` (seconds since 1970), `rotate`, which
  changes the device's key, or `resume` (§5.3: this board is the one).
- The answer is one JSON document ({"error", "exit_code"} where it was not done), or the bytes of an evidence
  bundle, and the end of the stream. An export that could not be finished ends in a reset, never in a shorter
  bundle that looks whole.
- One connection at a time; nobody is waited for longer than five seconds.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from agent.errors import AgentError, HardStop, TryAgain

MAX_REQUEST_BYTES = 128
MAX_REPORT_BYTES = 1_000_000
_TIMEOUT_S = 5.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() resets
_log = structlog.get_logger()


class ControlServer:
    """Serves until `close`. Raises `HardStop` where the socket cannot be made."""

    def __init__(
        self,
        path: Path,
        make_report: Callable[[], dict[str, object]],
        export: Callable[[int, int], Iterator[bytes]],
        prove: Callable[[], None],
        rotate: Callable[[], dict[str, object]],
        resume: Callable[[], bool] = lambda: False,
        log: Callable[[int], list[dict[str, Any]]] = lambda _limit: [],
        explain: Callable[[int | None], dict[str, Any]] = lambda _seq: {},
    ) -> None:
        self._path, self._make_report, self._export = path, make_report, export
        self._prove, self._rotate, self._resume = prove, rotate, resume
        self._log, self._explain = log, explain
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        making = path.with_suffix(".new")  # as long a name; whoever sees the socket can use it
        try:
            making.unlink(missing_ok=True)
            self._socket.bind(str(making))
            making.chmod(0o600)
            self._socket.listen(4)
            making.rename(path)
        except OSError as error:
            self._socket.close()
            raise HardStop(
                f"The socket {path} cannot be made: {error}. Give a short state_dir that is this user's."
            ) from None
        threading.Thread(target=self._run, name="control", daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(_TIMEOUT_S)
                    self._answer(connection)
                except Exception as error:  # noqa: BLE001 no caller of this socket may end its thread
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    _log.warning("request not answered", problem=str(error))

    def _answer(self, connection: socket.socket) -> None:
        match connection.recv(MAX_REQUEST_BYTES).decode("ascii", "replace").split():
            case ["status"]:
                connection.sendall(json.dumps(self._make_report()).encode())
            case ["log", limit] if limit.isdecimal():
                connection.sendall(json.dumps({"entries": self._log(int(limit))}).encode())
            case ["explain"]:
                connection.sendall(json.dumps(self._explain(None)).encode())
            case ["explain", seq] if seq.isdecimal():
                connection.sendall(json.dumps(self._explain(int(seq))).encode())
            case ["prove"]:
                self._prove()
                connection.sendall(b'{"asked": true}')
            case ["resume"]:
                connection.sendall(json.dumps({"resumed": self._resume()}).encode())
            case ["export", since, until] if since.isdecimal() and until.isdecimal():
                for piece in self._export(int(since), int(until)):
                    connection.sendall(piece)
                connection.sendall(END)
            case ["rotate"]:
                connection.sendall(json.dumps(self._rotated()).encode())
            case _:
                known = "status, log <limit>, explain [<seq>], prove, export <since> <until>, rotate, resume"
                connection.sendall(json.dumps({"problem": f"requests are: {known}"}).encode())

    def _rotated(self) -> dict[str, object]:
        try:
            return self._rotate()
        except AgentError as error:
            return {"error": error.sentence, "exit_code": error.exit_code}


END = b"\xf7"  # CBOR undefined: no item of a bundle; the client cuts it off and knows that all came


def ask(path: Path, request: str) -> Iterator[bytes]:
    """The pieces of the running agent's answer; raises `TryAgain` where none answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(4 * _TIMEOUT_S)
        try:
            sock.connect(str(path))
            sock.sendall(request.encode() + b"\n")
            while piece := sock.recv(65536):
                yield piece
        except OSError:
            raise TryAgain(f"No agent answers at {path}: start it with fieldproof-agent run.") from None


def nobody(path: Path) -> bool:
    """Whether no agent listens at `path`; one that was killed leaves its socket's file behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_TIMEOUT_S)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError:  # busy, or another user's
            return False
        return False


def ask_status(path: Path) -> dict[str, object]:
    """The running agent's report; raises `TryAgain`."""
    return _answer(path, "status", "healthy")


def ask_rotate(path: Path) -> dict[str, object]:
    """What the running agent did; raises what it met."""
    answer = _answer(path, "rotate", "error", "new_key")
    if "error" in answer:
        raise (HardStop if answer.get("exit_code") == HardStop.exit_code else TryAgain)(str(answer["error"]))
    return answer


def ask_log(path: Path, limit: int) -> list[dict[str, Any]]:
    """The running agent's diary; raises `TryAgain`."""
    entries: list[dict[str, Any]] = _answer(path, f"log {limit}", "entries")["entries"]
    return entries


def ask_explain(path: Path, seq: int | None) -> dict[str, Any]:
    """What the running agent says of a proof, or of all reasons lately; raises `TryAgain`."""
    return _answer(path, "explain" if seq is None else f"explain {seq}", "verdicts")


def ask_resume(path: Path) -> bool:
    """Whether the running agent was superseded and goes on now; raises `TryAgain`."""
    return bool(_answer(path, "resume", "resumed")["resumed"])


def _answer(path: Path, request: str, *names: str) -> dict[str, Any]:
    """The JSON object with one of `names` that answers `request`; raises `TryAgain`."""
    data = b""
    for piece in ask(path, request):
        data += piece
        if len(data) > MAX_REPORT_BYTES:
            break
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not answer.keys() & set(names):
        raise TryAgain(f"What answers at {path} is not a fieldproof agent, or one of another version.")
    return answer
