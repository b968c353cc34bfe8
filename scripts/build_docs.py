"""`make docs`: writes those parts of docs/ that are made from the code, between `<!-- name -->` markers.

- docs/configuration.md, `reference`: every key, from the schema of agent/settings.py. The sentence is the
  string under the key there.
- docs/troubleshooting.md, `diary`: what `fieldproof-agent log` says, from agent/words.py; `reasons`: every
  reason code, from proof/reasons.py.
- A test fails as long as a page is not what this writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent import words
from agent.settings import json_schema
from benchmarks import marked
from proof.reasons import Reason

DOCS = Path(__file__).parents[1] / "docs"
_UNIT_OF = {"lat": "degrees", "lon": "degrees", "low": "`unit`", "high": "`unit`", "jump": "`unit`"}
_UNIT_OF_ENDING = {"_s": "s", "_m": "m", "_bytes": "bytes"}
_PLAIN = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}
_HEAD = ("key", "type", "unit", "default", "bounds", "what it does")


def configuration() -> str:
    """A section for each TOML table, in the order of the schema."""
    schema = json_schema()
    return "## Before all tables\n\n" + "\n".join(_sections(schema, schema["$defs"], ""))


def _sections(table: dict[str, Any], defs: dict[str, Any], path: str) -> Iterator[str]:
    inner = {name: target for name, key in table["properties"].items() if (target := _table_of(key))}
    yield f"{_prose(table['description'])}\n"
    plain = {name: key for name, key in table["properties"].items() if name not in inner}
    yield _table(_HEAD, [_row(name, key, table) for name, key in plain.items()])
    for name, target in inner.items():
        key = table["properties"][name]
        if key.get("type") == "array":
            title = f"[[{path}{name}]]"
        elif "additionalProperties" in key:
            title = f"[{path}{name}.QUANTITY]"
        else:
            title = f"[{path}{name}]"
        yield f"## `{title}`\n"
        yield from _sections(defs[target], defs, f"{path}{name}.")


def _table_of(key: dict[str, Any]) -> str:
    """The definition that a table's key names; "" for a plain key."""
    places = [key, key.get("items", {}), key.get("additionalProperties", {}), *key.get("anyOf", ())]
    return next((place["$ref"].rpartition("/")[2] for place in places if "$ref" in place), "")


def _row(name: str, key: dict[str, Any], table: dict[str, Any]) -> tuple[str, ...]:
    ending = next((unit for ending, unit in _UNIT_OF_ENDING.items() if name.endswith(ending)), "")
    default = "required" if name in table.get("required", ()) else _default(key)
    unit, what = _UNIT_OF.get(name, ending), _prose(key["description"])
    return f"`{name}`", _type(key), unit, default, _bounds(key), what


def _type(key: dict[str, Any]) -> str:
    if "enum" in key:
        return " or ".join(f'`"{value}"`' for value in key["enum"])
    if "anyOf" in key:
        return _type(key["anyOf"][0])
    if key["type"] == "array":
        return f"list of {_type(key['items'])}s"
    if key.get("format") == "path":
        return "path"
    return _PLAIN[key["type"]]


def _default(key: dict[str, Any]) -> str:
    value = key["default"]
    if value is None:
        return "none"
    if isinstance(value, str) and _type(key) == "number":  # a Decimal
        return f"`{value}`"
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        text = f"{int(value)}" if value == int(value) else f"{value:g}"
        return f"{int(value):_}" if len(text) > 5 else text
    return str(value) if isinstance(value, list) else f'"{value}"'


def _bounds(key: dict[str, Any]) -> str:
    key = {**key.get("anyOf", ({},))[0], **key}
    low, above, high = (key.get(bound) for bound in ("minimum", "exclusiveMinimum", "maximum"))
    most = "" if high is None else f", at most {_toml(high)}"
    if above is not None:
        return f"more than {_toml(above)}{most}"
    if low is not None:
        return f"{_toml(low)} or more" if high is None else f"{_toml(low)} to {_toml(high)}"
    return most.removeprefix(", ")


def _prose(text: str) -> str:
    """One line; pages are linked, as seen from docs/."""
    return re.sub(r"docs/(([\w-]+)\.md)", r"[\2](\1)", " ".join(text.split()))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(" ".join(f"| {cell}".rstrip() for cell in cells) + " |\n" for cells in lines)


def diary() -> str:
    return _table(("code", "sentence"), [(f"`{code}`", said) for code, said in words.SENTENCES.items()])


def reasons() -> str:
    return _table(
        ("code", "what happened", "what to do"),
        [(f"`{reason.value}`", reason.sentence, reason.remedy) for reason in Reason],
    )


GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("configuration.md", "reference"): configuration,
    ("troubleshooting.md", "diary"): diary,
    ("troubleshooting.md", "reasons"): reasons,
}


def written(page: str, name: str) -> str:
    """The whole page as it should be."""
    return marked.replaced((DOCS / page).read_text(), name, f"\n{GENERATED[page, name]()}\n")


def main() -> None:
    for page, name in GENERATED:
        (DOCS / page).write_text(written(page, name))


if __name__ == "__main__":
    main()
