"""Modules that libraries import and the daemon never uses, put off until somebody does use them.

- structlog imports asyncio for its asynchronous loggers and rich for coloured tracebacks, paho imports
  urllib.request to look for proxies. What that costs in memory: decision 0003.
- A module put off is a stand-in that becomes the real one when it is first asked for a name: nothing is
  taken away. `rich` and `greenlet` are optional to structlog and are said to be absent, whatever
  else in the same environment needs them.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import Any

PUT_OFF = ("asyncio", "urllib.request")
ABSENT = ("rich", "greenlet")


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
