"""Text between markers in a Markdown file that a program writes: `<!-- name -->` … `<!-- /name -->`."""

from __future__ import annotations

from pathlib import Path


def _parts(text: str, name: str) -> tuple[str, str, str]:
    before, opened, rest = text.partition(f"<!-- {name} -->\n")
    inside, closed, after = rest.partition(f"<!-- /{name} -->\n")
    if not (opened and closed):
        raise ValueError(f"no <!-- {name} --> … <!-- /{name} --> in it")
    return before + opened, inside, closed + after


def section(path: Path, name: str) -> str:
    """With its markers; "" where the file has none."""
    try:
        inside = _parts(path.read_text(), name)[1]
    except (OSError, ValueError):
        return ""
    return f"<!-- {name} -->\n{inside}<!-- /{name} -->\n"


def replaced(page: str, name: str, text: str) -> str:
    """`page` with `text` in that place; raises ValueError for a page without the markers."""
    before, _, after = _parts(page, name)
    return before + text + after


def write(path: Path, name: str, text: str) -> None:
    path.write_text(replaced(path.read_text(), name, text))
