"""What a dying card does to a store between two lives: flipped bits, a file cut short, pages of zeros."""

from __future__ import annotations

import random
from pathlib import Path

PAGE = 4096


def flip_bits(path: Path, dice: random.Random) -> None:
    with path.open("r+b") as file:
        data = bytearray(file.read())
        for _ in range(dice.choice((1, 1, 3, 20))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        file.seek(0)
        file.write(data)


def cut_short(path: Path, dice: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(dice.randrange(file.seek(0, 2)))


def zero_pages(path: Path, dice: random.Random) -> None:
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(dice.randrange(-(-size // PAGE)) * PAGE)
        file.write(bytes(min(dice.choice((1, 1, 2, 8)) * PAGE, size - file.tell())))


KINDS = {"flip_bits": flip_bits, "cut_short": cut_short, "zero_pages": zero_pages}


def damage(journal: Path, kind: str, dice: random.Random) -> str:
    """Which file it was, "" where there is nothing to damage."""
    files = [journal, journal.with_name(journal.name + "-wal")]
    there = [path for path in files if path.exists() and path.stat().st_size]
    if not there:
        return ""
    path = dice.choice(there)
    try:
        KINDS[kind](path, dice)
    except OSError:  # its file system is read-only just now
        return ""
    return path.name
