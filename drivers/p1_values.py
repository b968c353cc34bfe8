r"""What a telegram of a P1 port says, by dsmr-parser (extra `dsmr`).

- Given whole, intact telegrams only (`p1`); a CRC is checked by the library once more.
- Its own tables are not used. Their patterns take the line of any channel, of a longer code that begins alike
  (1.8.10 as 1.8.1), of an old reading (`*01`), and the next line where a value is missing
  (tests/unit/drivers/test_p1_library.py shows each). The library's parsers get our list: one exact code each.
- Strict: a line of a code we want that is not exactly one group is an error, and so is a code that is said
  twice with two values. Lines of other codes are passed over.
- The library is loaded when the first meter is made, without what it needs for encrypted telegrams alone:
  10 MB that nothing here uses (decision 0005).
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from types import ModuleType
from typing import Any

from drivers.errors import NeedsHuman

Said = tuple[Decimal | str | None, str | None]
"""A value and its unit; None where the group, or the unit, is missing."""

_FOR_ENCRYPTED = (
    "cryptography.hazmat.primitives.ciphers",
    "dlms_cosem.connection",
    "dlms_cosem.exceptions",
    "dlms_cosem.protocol.xdlms",
)
_NO_LOG = logging.NullHandler()
_ONE_GROUP = re.compile(r"\d-\d:\d+\.\d+\.\d+(?:\*255)?\([^()]*\)\r\n")


class Unreadable(ValueError):
    """What was said for `name` is not what its line is."""

    def __init__(self, said: str, name: str) -> None:
        super().__init__(f"{said.strip()[:48]!r} for {name}")


class _Unused(ModuleType):
    """In the place of a module while the library is imported: all its names are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system looks for these


def _library() -> Any:
    unused = [name for name in _FOR_ENCRYPTED if name not in sys.modules]
    sys.modules.update({name: _Unused(name) for name in unused})
    try:
        library = importlib.import_module("dsmr_parser.parsers")
    except ModuleNotFoundError as missing:
        raise NeedsHuman(
            f"Smart meters need the module {missing.name}: install fieldproof with its extra `dsmr`."
        ) from None
    finally:
        for name in unused:
            sys.modules.pop(name, None)
    logging.getLogger("dsmr_parser").propagate = False  # it logs tracebacks of what it then raises
    logging.getLogger("dsmr_parser").addHandler(_NO_LOG)
    return library


class Reader:
    """Reads the wanted codes, by name, out of telegrams. Raises `NeedsHuman` without the library."""

    def __init__(self, codes: Mapping[str, str], of: type[Decimal] | type[str]) -> None:
        library = _library()
        parser = library.CosemParser(library.ValueParser(of))
        self._references = {name: _reference(code) for name, code in codes.items()}
        specification = {
            "checksum_support": True,
            "objects": [
                {"obis_reference": reference, "value_parser": _Line(name, parser), "value_name": name}
                for name, reference in self._references.items()
            ],
        }
        self._parsers = {
            checked: library.TelegramParser(specification, apply_checksum_validation=checked)
            for checked in (True, False)
        }

    def read(self, telegram: bytes, checked: bool) -> Mapping[str, Said]:
        """What is said, by name; what is not there is not said. Raises `Unreadable`."""
        head, end, crc = telegram.decode("latin-1").partition("!")
        try:
            said = self._parsers[checked].parse(head + end + crc.upper(), throw_ex=True)
        except Unreadable:
            raise
        except Exception as error:  # whatever a library makes of bytes, they are not a value
            raise Unreadable(str(error), "all") from error
        found = {}
        for name, reference in self._references.items():
            if reference in said:
                first, last = said[reference], getattr(said, name)
                if (first.value, first.unit) != (last.value, last.unit):
                    raise Unreadable(f"{first.value} and {last.value}", name)
                found[name] = (first.value, first.unit)
        return found


class _Line:
    """The library's parser of one line, for lines that have one group and nothing besides."""

    def __init__(self, name: str, parser: Any) -> None:
        self._name, self._parser = name, parser

    def parse(self, line: str) -> Any:
        if not _ONE_GROUP.fullmatch(line):
            raise Unreadable(line, self._name)
        try:
            return self._parser.parse(line)
        except Exception as error:  # as above
            raise Unreadable(line, self._name) from error


def _reference(code: str) -> str:
    """Matches the lines that begin with this code, and what continues them: all of them, well-formed or not,
    except old readings and longer codes."""
    return rf"^{re.escape(code)}(?!\d|\*(?!255\D))[^\n]*(?:\n\([^\n]*)*(?:\n|\Z)"
