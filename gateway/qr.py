"""A text as a QR code: for a terminal, or as PNG.

- Two modules to a character, in white on black whatever the terminal's colours are: scanners do not read a
  code of which the colours are exchanged.
- The least error correction: a screen has no dirt, and a smaller code is easier to scan.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segno import QRCode

_WHITE_ON_BLACK, _RESET = "\033[38;5;231;48;5;16m", "\033[0m"
_PNG_SCALE = 6


def for_terminal(text: str) -> list[str]:
    """Lines of one width, each with its colours; `width` says how many columns they take."""
    drawn = io.StringIO()
    _code(text).terminal(drawn, compact=True)
    return [f"{_WHITE_ON_BLACK}{line}{_RESET}" for line in drawn.getvalue().splitlines()]


def width(text: str) -> int:
    return int(_code(text).symbol_size()[0])


def png(text: str) -> bytes:
    drawn = io.BytesIO()
    _code(text).save(drawn, kind="png", scale=_PNG_SCALE)
    return drawn.getvalue()


def _code(text: str) -> QRCode:
    import segno

    return segno.make_qr(text, error="l", boost_error=False)
