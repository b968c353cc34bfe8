"""Modules that libraries import and the daemon never uses, put off until somebody does use them.

- structlog imports asyncio for its asynchronous loggers and rich for coloured tracebacks, paho imports
  urllib.request to look for proxies, both uuid for names that we give. What that costs in memory: decision
  0003.
- annotated_types imports typing_extensions for one class, and has its own where that is absent. cbor2 looks
  up classes that we never encode, to recognise them, when it meets its first decimal: it is shown others of
  their names. Both are done at once, and then those modules are there for whoever wants them.
- A module put off is a stand-in that becomes the real one when it is first asked for a name: nothing is
  taken away. `rich` and `greenlet` are optional to structlog and are said to be absent, whatever
  else in the same environment needs them.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from types import ModuleType
from typing import Any

PUT_OFF = ("asyncio", "urllib.request", "uuid")
ABSENT = ("rich", "greenlet")
NEVER_ENCODED = {"email.mime.text": "MIMEText", "fractions": "Fraction", "uuid": "UUID"}


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system looks for these; that is no use yet
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def prepare() -> None:
    """Call before the libraries are imported."""
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    # From Python 3.12 on every log record asks asyncio for its task, unless told not to.
    vars(logging)["logAsyncioTasks"] = False
    for name in PUT_OFF:
        if name in sys.modules:
            continue
        sys.modules[name] = later = _Later(name)
        package, _, leaf = name.rpartition(".")
        if package:
            setattr(importlib.import_module(package), leaf, later)
    with _instead({"typing_extensions": None}):
        importlib.import_module("annotated_types")
    with _instead({name: _holding(word) for name, word in NEVER_ENCODED.items()}), suppress(AttributeError):
        importlib.import_module("cbor2").dumps(Decimal("0.5"))


def _holding(word: str) -> ModuleType:
    module = ModuleType(word)
    setattr(module, word, type(word, (), {}))
    return module


@contextmanager
def _instead(others: Mapping[str, ModuleType | None]) -> Iterator[None]:
    real = {name: sys.modules[name] for name in others if name in sys.modules}
    sys.modules.update(others)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in others:
            del sys.modules[name]
        sys.modules.update(real)
