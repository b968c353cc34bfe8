"""A disk that loses power: which states of the files it may hold at a moment of a recording.

- What was synced is there. Of what was not, any part may be: each write, or each of its sectors (512 or 4,096
  bytes), kept or lost by itself, so also later ones without earlier ones. A sector has its old or its new
  bytes; what is kept beyond a hole has zeros before it.
- `fsync` of a file makes its data and size durable, not its name. Names (create, link, rename, unlink, mkdir)
  are durable after `fsync` of their folder; before that, any of them may have happened, a rename as a whole.
- Not modelled: a disk that lies about a sync, or damages bytes that were not being written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.recording import Claim, Event, Name, Rename, Sync, Truncate, Write

SECTORS = (512, 4096)
_MOST_SINGLE = 24  # of so many writes between two syncs each is tried by itself; of more, that many at random
Change = Write | Truncate
Naming = Name | Rename


@dataclass(slots=True)
class Disk:
    """What is durable, and what was asked for since."""

    files: dict[int, bytearray] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    naming: list[Naming] = field(default_factory=list)

    def ask(self, event: Event) -> None:
        if isinstance(event, Write | Truncate):
            self.changes.append(event)
        elif isinstance(event, Name | Rename):
            self.naming.append(event)

    def sync(self, sync: Sync) -> None:
        if sync.file is None:
            _rename(self.names, [n for n in self.naming if _folder(n) == sync.path])
            self.naming = [n for n in self.naming if _folder(n) != sync.path]
            return
        for change in self.changes:
            if change.file == sync.file:
                _apply(self.files.setdefault(change.file, bytearray()), change)
        self.changes = [change for change in self.changes if change.file != sync.file]


@dataclass(frozen=True, slots=True)
class State:
    """One possible content of the disk after a cut; `what` says which."""

    what: str
    files: dict[int, bytes]
    names: dict[str, int]

    def put(self, root: str, folder: Path) -> None:
        """Make these files in `folder`, which stands for `root`."""
        for path, file in sorted(self.names.items()):
            target = folder / path.removeprefix(root).lstrip("/")
            if not target.parent.is_dir():
                continue  # its folder is not there
            if file < 0:
                target.mkdir(exist_ok=True)
            else:
                target.write_bytes(self.files.get(file, b""))
                target.chmod(0o400 if ".key" in target.name else 0o600)


@dataclass(frozen=True, slots=True)
class Cut:
    """The moment right before the `number`th sync has done its work, or the end."""

    number: int
    disk: Disk
    claims: tuple[str, ...]

    def states(self, chance: random.Random, subsets: int) -> Iterator[State]:
        """All that was not synced lost, kept, kept up to each write, each write alone, all but each; and
        `subsets` random choices for each sector size. With each, names: none, all, or any of them."""
        changes, naming = self.disk.changes, self.disk.naming
        count = len(changes)
        yield self._state("nothing", [], [])
        if not count and not naming:
            return
        yield self._state("everything", changes, naming)
        if naming:
            yield self._state("data without names", changes, [])
            yield self._state("names without data", [], naming)
            for number in range(1, len(naming)):
                yield self._state(f"{number} names", changes, naming[:number])
                yield self._state(f"only name {number}", changes, naming[number : number + 1])
        singles = range(count) if count <= _MOST_SINGLE else sorted(chance.sample(range(count), _MOST_SINGLE))
        some: Callable[[], list[Naming]] = lambda: [n for n in naming if chance.random() < 0.5]  # noqa: E731
        for number in singles if count > 1 else ():
            yield self._state(f"the first {number}", changes[:number], some())
            yield self._state(f"only {number}", changes[number : number + 1], some())
            yield self._state(f"all but {number}", changes[:number] + changes[number + 1 :], some())
        for sector in SECTORS:
            for _ in range(subsets):
                share = chance.choice((0.1, 0.5, 0.9))
                torn = [piece for c in changes for piece in _pieces(c, sector) if chance.random() < share]
                yield self._state(f"torn at {sector}", torn, some())

    def _state(self, what: str, changes: list[Change], naming: list[Naming]) -> State:
        files = {number: bytearray(data) for number, data in self.disk.files.items()}
        names = dict(self.disk.names)
        for change in changes:
            _apply(files.setdefault(change.file, bytearray()), change)
        _rename(names, naming)
        return State(what, {number: bytes(data) for number, data in files.items()}, names)


def cuts(events: list[Event]) -> Iterator[Cut]:
    """One per sync and one at the end. Each is to be used before the next is asked for."""
    disk, claims, number = Disk(), list[str](), 0
    for event in events:
        if isinstance(event, Claim):
            claims.append(event.line)
        elif isinstance(event, Sync):
            number += 1
            yield Cut(number, disk, tuple(claims))
            disk.sync(event)
        else:
            disk.ask(event)
    yield Cut(number + 1, disk, tuple(claims))


def _pieces(change: Change, sector: int) -> Iterator[Change]:
    if isinstance(change, Truncate):
        yield change
        return
    at, end = change.offset, change.offset + len(change.data)
    while at < end:
        until = min(end, (at // sector + 1) * sector)
        yield Write(change.file, at, change.data[at - change.offset : until - change.offset])
        at = until


def _apply(content: bytearray, change: Change) -> None:
    if isinstance(change, Truncate):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def _folder(naming: Naming) -> str:
    path = naming.new if isinstance(naming, Rename) else naming.path
    return path.rpartition("/")[0]


def _rename(names: dict[str, int], happened: list[Naming]) -> None:
    for naming in happened:
        if isinstance(naming, Rename):
            if naming.old in names:
                names[naming.new] = names.pop(naming.old)
        elif naming.file is None:
            names.pop(naming.path, None)
        else:
            names[naming.path] = naming.file
