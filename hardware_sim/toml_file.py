"""Files that people write for the simulator: bounded, parsed, checked against a dataclass."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import FixConfig

T = TypeVar("T")
MAX_BYTES = 256 * 1024


def bounded(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a file; raises `FixConfig`."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise FixConfig(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > limit_bytes:
        raise FixConfig(f"{path} has more than {limit_bytes} bytes: is it the right file?")
    return data


def load(schema: type[T], path: Path) -> T:
    """The file as a `schema`, a frozen dataclass; raises `FixConfig` with the key's path."""
    try:
        table = tomllib.loads(bounded(path, MAX_BYTES).decode())
    except (ValueError, RecursionError) as error:
        raise FixConfig(f"{path} is not TOML: {str(error)[:200]}.") from None
    return checked(schema, table, str(path))


def checked(schema: type[T], table: dict[str, Any], where: str) -> T:
    """`table` as a `schema`; raises `FixConfig`."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_python(table)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(map(str, detail["loc"]))[:120] or "the file"
        unknown = detail["type"] == "unexpected_keyword_argument"
        problem = "there is no such key" if unknown else detail["msg"].removeprefix("Value error, ")
        raise FixConfig(f"{where}: {place}: {problem}.") from None
