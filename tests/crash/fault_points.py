"""A command line, killed before each thing it does to the world: after every death it must be whole.

    with FaultPoints("provisioning.cli:main") as provision:
        points = provision.for_each_fault_point(
            tmp_path,
            make_world=lambda folder: World(folder),          # a fresh world in an empty folder of its own
            command=lambda world: Command(("rotate", "-c", str(world.config)), stdin=b"yes\n"),
            check_after_death=lambda world: world.is_old_or_new(),
            check_after_repeat=lambda world, ended: world.is_new(ended.stdout),
        )

- A fault point is an operation that changes a file or is seen by somebody else: opening for writing, the
  first write, os.write, mkdir, link, rename, unlink, chmod, truncate, fsync, every writing SQL statement and
  COMMIT, starting a program, connecting, sending. The process dies by SIGKILL right before it, with every
  program it started. (The kernel keeps what was written: a power cut that loses unsynced data is not this.)
- A counting run in a world of its own tells how many there are: it is checked like a repeat. Then for each
  number: fresh world, run, die, `check_after_death`, run again to the end, `check_after_repeat`.
- With threads the order may differ from run to run. A run that ends by itself before its number has come is
  checked all the same; the command is wrong only where a check fails. A failure names the operation.
- `check_after_repeat` gets the `Ended` of the repeat: exit code, stdout, stderr, operations. `repeat` may
  give another command line than the first (`--resume`).
- `run` alone runs a command to its end: what a world needs before, such as `init`. The program is imported
  once, in a server that forks (20 to 50 ms a command); its standard input is a file, never a terminal.
- Another entry point than a `main()` of ours is any function `module:name` that reads `sys.argv`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

World = TypeVar("World")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Command:
    arguments: Sequence[str]
    stdin: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` is negative for a signal. `operations` are those before which it could have died, in order; the
    last one was not done by a process that died."""

    code: int
    stdout: str
    stderr: str
    operations: tuple[str, ...]

    @property
    def died(self) -> bool:
        return self.code == -signal.SIGKILL

    def kinds(self) -> set[str]:
        """The operations without what they were done to."""
        return {operation.split()[0] for operation in self.operations}


class FaultPoints:
    """Runs command lines of `program`, a `module:function`; a context manager."""

    def __init__(self, program: str = "provisioning.cli:main") -> None:
        self._program = program
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> FaultPoints:
        module, _, function = self._program.partition(":")
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.dying", module, function],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        with self._server as server:  # closes its stdin, which ends it, and waits
            if kind is not None:
                server.kill()

    def run(self, folder: Path, command: Command, die_at: int = 0) -> Ended:
        """Run `command`; what it prints is kept in `folder`. With `die_at` N it dies before operation N."""
        assert self._server is not None
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stdin").write_bytes(command.stdin)
        asked = {
            "arguments": ["program", *command.arguments],
            "environment": dict(command.environment),
            "folder": str(folder),
            "die_at": die_at,
        }
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, "the server of fault points ended"
        said = {
            name: (folder / name).read_text(errors="replace") for name in ("stdout", "stderr", "operations")
        }
        code: int = json.loads(answer)
        assert code != -signal.SIGALRM, f"hung after {said['operations'][-500:]}\n{said['stderr']}"
        return Ended(code, said["stdout"], said["stderr"], tuple(said["operations"].splitlines()))

    def for_each_fault_point(
        self,
        folder: Path,
        make_world: Callable[[Path], World],
        command: Callable[[World], Command],
        check_after_death: Callable[[World], object],
        check_after_repeat: Callable[[World, Ended], object],
        repeat: Callable[[World], Command] | None = None,
    ) -> tuple[str, ...]:
        """The operations of an undisturbed run; see the module. Checks fail by raising."""
        world = self._world(folder / "0", make_world)
        undisturbed = self.run(folder / "0-run", command(world))
        assert not undisturbed.died
        check_after_repeat(world, undisturbed)
        assert undisturbed.operations, "nothing to die before"
        for number in range(1, len(undisturbed.operations) + 1):
            world = self._world(folder / str(number), make_world)
            first = self.run(folder / f"{number}-run", command(world), number)
            where = f"died before {number}: {first.operations[-1]}" if first.died else "not killed"
            try:
                if first.died:
                    check_after_death(world)
                second = self.run(folder / f"{number}-again", (repeat or command)(world))
                check_after_repeat(world, second)
            except BaseException as error:  # whatever it is: it is raised again, and says where
                error.add_note(f"[fault point] {where}")
                raise
        return undisturbed.operations

    def _world(self, folder: Path, make_world: Callable[[Path], World]) -> World:
        folder.mkdir(parents=True)
        return make_world(folder)
