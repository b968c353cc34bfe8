"""Runs the commands of a page of the docs. For who writes a page:

Every fenced block has a language. ```` ```sh ```` blocks are run, from the first to the last of a page, in
one bash (`set -eu`) in an empty home, with our commands on the path; each must end with 0. A page in docs/
is found by itself. More words behind `sh` say more:

- `exit=1`: it must end with this code.
- `background`: one command that runs on until the page ends (a gateway, an agent).
- `elsewhere`: not run here; the list in tests/integration/test_docs_commands.py says why, and what runs it.

```` ```text output ```` is what the `sh` block before it printed. Its shape is compared: numbers, keys and
ids may differ, a line `…` stands for any lines, `…` in a line for any text; more may follow.
```` ```toml >FILE ```` is written into FILE, `>>FILE` added to it. What a test must do between two blocks
stands in a note that readers do not see: `<!-- test`, lines of shell, `-->`. The ports 18833, 8733 and 8734
become free ones.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PORTS = ("18833", "8733", "8734")
_NOTE = re.compile(r"<!-- test\n(.*?)-->\n?", re.DOTALL)
_COMMAND = re.compile(
    r"\s*(\$ |sudo |\.venv/bin/|(fieldproof-\w+|make|apt|apt-get|git|pip|python3?|curl|systemctl) [\w.-])"
)
_BEGIN = "set -eu\nexec < /dev/null\nBACKGROUND=\n"
_END = """
for one in $BACKGROUND; do kill -0 $one || { echo "$one ended by itself"; exit 1; }; done
for one in $BACKGROUND; do kill $one; done
for one in $BACKGROUND; do wait $one || true; done
"""


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]


def pages() -> list[str]:
    """Every page for readers, from the repository's root."""
    found = [ROOT / "README.md", ROOT / "systemd" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(path.relative_to(ROOT)) for path in found if "decisions" not in path.parts]


def blocks(page: str, text: str) -> Iterator[Block]:
    """Fences, and notes for tests, in their order."""
    for token in MarkdownIt().parse(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence":
            language, *words = token.info.split() or [""]
            yield Block(page, line, language, tuple(words), token.content)
        elif token.type == "html_block":
            yield from (Block(page, line, "note", (), note) for note in _NOTE.findall(token.content))


def misfits(found: list[Block]) -> list[str]:
    """One sentence for each block that nobody would run, or nobody understands."""
    said = []
    for block in found:
        if not block.language:
            said.append(f"{block.place}: give the block a language: `sh` is run, `text` is no command")
        elif block.language == "sh":
            known = {"background", "elsewhere", "exit=1", "exit=2"}
            if wrong := [word for word in block.words if word not in known]:
                said.append(f"{block.place}: `sh {' '.join(wrong)}` is not among {sorted(known)}")
            if "background" in block.words and len(_joined(block.text).splitlines()) != 1:
                said.append(f"{block.place}: a background block is one command")
        elif block.language not in ("note", "console", "python", "toml"):
            commands = [line for line in block.text.splitlines() if _COMMAND.match(line)]
            if commands and "output" not in block.words:
                said.append(f"{block.place}: {commands[0]!r} looks like a command: nobody runs it")
    return said


def follow(page: str, text: str, home: Path, ports: Mapping[str, int], deadline_s: float) -> list[str]:
    """Runs a page in `home`; what each block printed. Raises `AssertionError` with the place."""
    for port in PORTS:
        text = re.sub(rf"\b{port}\b", str(ports[port]), text)
    found = [block for block in blocks(page, text) if "elsewhere" not in block.words]
    script, said = home.parent / f"{home.name}.sh", home.parent / f"{home.name}.said"
    said.mkdir()
    script.write_text(_BEGIN + "".join(_step(n, block, said) for n, block in enumerate(found)) + _END)
    with subprocess.Popen(
        ["bash", script], cwd=home, env=_environment(home), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as bash:  # fmt: skip
        try:
            own = bash.communicate(timeout=deadline_s)[0]
        except subprocess.TimeoutExpired:
            own = f"not over after {deadline_s:g} s"
        finally:
            _end(bash.pid)
    printed = [_read(said / str(n)) for n in range(len(found))]
    at = int(_read(said / "at") or 0)
    assert bash.returncode == 0, (
        f"{found[at].place} ended with {bash.returncode}: {own}{_tail(found, printed)}"
    )
    for n, block in enumerate(found):
        assert "Traceback (most recent call last)" not in printed[n], f"{block.place}:\n{printed[n]}"
        if "output" in block.words:
            before = next(m for m in range(n - 1, -1, -1) if found[m].language == "sh")
            missing = differs(block.text, printed[before])
            assert not missing, f"{block.place} shows {missing!r}; printed was:\n{printed[before]}"
    return printed


def differs(shown: str, printed: str) -> str:
    """The first line of `shown` that has no counterpart in `printed`, in order; "" when all have."""
    lines = iter(printed.splitlines())
    skip = False
    for line in shown.splitlines():
        if line.strip() == "…":
            skip = True
            continue
        if not line.strip():
            continue
        pattern = re.compile(_shape(line))
        for candidate in lines:
            if not candidate.strip():
                continue
            if pattern.fullmatch(candidate.strip()):
                break
            if not skip:
                return line
        else:
            return line
        skip = False
    return ""


def _shape(line: str) -> str:
    """A pattern of what may stand there: what differs from one run to the next is left open."""
    pieces = re.split(
        r"(did:key:\w+|z6Mk\w+|fp1\.\S+|\b(?=\w*\d)(?=\w*[a-f])[0-9a-f]{8,}\b|-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?|…|\s+)",
        line.strip(),
    )
    made = []
    for n, piece in enumerate(pieces):
        if n % 2 == 0:
            made.append(re.escape(piece))
        elif piece.isspace():
            made.append(r"\s+")
        elif piece == "…":
            made.append(".*")
        elif piece[0].isdigit() or piece[0] == "-":
            made.append(r"-?\w[\w,.]*" if re.search("[a-f]", piece) else r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
        else:
            made.append(r"[\w:.-]+")
    return "".join(made)


def _step(n: int, block: Block, said: Path) -> str:
    out = shlex.quote(str(said / str(n)))
    at = f"echo {n} > {shlex.quote(str(said / 'at'))}\n"
    files = [word for word in block.words if word.startswith(">")]
    if files:
        arrow, name = re.fullmatch(r"(>+)(.+)", files[0]).groups()  # type: ignore[union-attr]
        return f"{at}cat {arrow}{name} << 'END-OF-FILE'\n{block.text}END-OF-FILE\n"
    if block.language not in ("sh", "note"):
        return ""
    if "background" in block.words:
        return f'{at}( exec {_joined(block.text)} ) > {out} 2>&1 & BACKGROUND="$BACKGROUND $!"\n'
    code = next((word[5:] for word in block.words if word.startswith("exit=")), "")
    if code:
        ended = f'[ $code = {code} ] || {{ echo "it ended with $code"; exit 1; }}'
        return f"{at}set +e; ( set -e\n{block.text}) > {out} 2>&1; code=$?; set -e\n{ended}\n"
    return f"{at}{{\n{block.text}}} > {out} 2>&1\n"


def _joined(text: str) -> str:
    return text.replace("\\\n", " ").strip()


def _environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "USER": os.environ.get("USER", "root"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "110",
        "PYTHONPATH": str(ROOT),
    }


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _tail(found: list[Block], printed: list[str]) -> str:
    return "".join(
        f"\n--- {block.place}\n{text[-3000:]}" for block, text in zip(found, printed, strict=True) if text
    )
