"""What holds the commands of the docs is held itself: a page that is wrong fails, with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from agent import cli as agent_cli
from gateway import cli as gateway_cli
from hardware_sim import cli as sim_cli
from provisioning import cli as provision_cli
from tests import docs_commands
from tests.docs_commands import PORTS, ROOT
from verifier import cli as verify_cli

FREE = dict.fromkeys(PORTS, 1)
PROGRAMS = {
    "agent": agent_cli,
    "gateway": gateway_cli,
    "provision": provision_cli,
    "sim": sim_cli,
    "verify": verify_cli,
}


def follow(text, folder):
    home = folder / "home"
    home.mkdir()
    return docs_commands.follow("page.md", text, home, FREE, deadline_s=30)


GOOD = """
```sh
cat > note << 'END'
$HOME has 3 apples
END
cat note; FRUIT=apple
```

```text output
$HOME has 17 apples
```

<!-- test
echo hidden > hidden
-->

```toml >>hidden
key = 1
```

- in a list

  ```sh background
  sleep 1000
  ```

```sh exit=2
echo $FRUIT of 18833; cat hidden; exit 2
```

```text output
…
key = 1
```
"""


def test_blocks_share_one_shell_and_notes_and_files_lie_between_them(tmp_path):
    printed = follow(GOOD, tmp_path)
    assert "apple of 1\nhidden\nkey = 1\n" in printed


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ("cat note;", "cat nothing;", "page.md:2 ended with 1"),
        ("exit=2", "exit=1", "ended with 2"),
        ("exit 2\n", "exit 0\n", "ended with 0"),
        ("echo $FRUIT", "echo $VEGETABLE", "VEGETABLE: unbound"),
        ("17 apples", "17 pears", "page.md:9 shows '$HOME has 17 pears'"),
        ("echo hidden >", "false >", "page.md:13 ended with 1"),
        ("echo $FRUIT", "echo 'Traceback (most recent call last)'", "Traceback"),
    ],
)
def test_a_page_that_is_wrong_fails_with_its_place(tmp_path, changed, to, said):
    assert changed in GOOD
    with pytest.raises(AssertionError, match=re.escape(said)):
        follow(GOOD.replace(changed, to), tmp_path)


def test_a_program_in_the_background_that_does_not_last_to_the_end_of_the_page_fails(tmp_path):
    page = (
        "```sh background\ntrue\n```\n\n```sh\nwhile kill -0 $BACKGROUND 2> gone; do sleep 0.05; done\n```\n"
    )
    with pytest.raises(AssertionError, match="ended by itself"):
        follow(page, tmp_path)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```\nls\n```", "give the block a language"),
        ("```sh maybe\nls\n```", "`sh maybe` is not among"),
        ("```text\nsudo reboot\n```", "'sudo reboot' looks like a command: nobody runs it"),
        ("```bash\nfieldproof-agent run\n```", "'fieldproof-agent run' looks like a command"),
        ("```sh background\nls\nls\n```", "a background block is one command"),
    ],
)
def test_a_block_that_nobody_runs_is_one_sentence_with_its_place(block, said):
    (sentence,) = docs_commands.misfits(list(docs_commands.blocks("page.md", f"\n{block}\n")))
    assert sentence.startswith("page.md:2: ")
    assert said in sentence


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        ("12 readings, 3.5 s", "900 readings, 0.25 s", True),
        ("12 readings", "12 proofs", False),
        ("of did:key:z6Mkabc", "of did:key:z6Mkxyz9", True),
        ("a\nc", "a\nb\nc", False),
        ("a\n…\nc", "a\nb\nb\nc", True),
        ("a\n…\nd", "a\nb\nc", False),
        ("hash 00ff12ab … end", "hash 99aa88cc of two words end", True),
        ("", "whatever", True),
    ],
)
def test_shapes_are_compared_not_figures(shown, printed, fits):
    assert (docs_commands.differs(shown, printed) == "") is fits


def called():
    """(place, program, words) of each call of one of our programs, in blocks and in running text."""
    for page in docs_commands.pages():
        text = (ROOT / page).read_text().replace("\\\n", " ")
        for line in re.findall(
            r"(?<![=\w])(?<!-u )fieldproof-(?:agent|gateway|provision|sim|verify) [^\n`|&;)>]+", text
        ):
            program, *words = line.partition("  #")[0].split()
            yield page, program.removeprefix("fieldproof-"), words


def _commands(command: Any) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from _commands(inner)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_help_has_a_word_between_colons_which_a_terminal_is_shown_as_a_picture(program):
    for command in _commands(typer.main.get_command(PROGRAMS[program].app)):
        for text in (command.help, *(getattr(param, "help", None) for param in command.params)):
            assert not re.search(r":[a-z_]+:", text or ""), (command.name, text)


@pytest.mark.parametrize("page", docs_commands.pages())
def test_every_command_and_option_that_a_page_names_exists(page):
    wrong = []
    for _, program, words in [call for call in called() if call[0] == page]:
        command: Any = typer.main.get_command(PROGRAMS[program].app)
        rest = list(words)
        while hasattr(command, "commands") and rest and re.fullmatch(r"[a-z-]+", rest[0]):
            name = rest.pop(0)
            if name not in command.commands:
                wrong.append(f"fieldproof-{program} {name}")
                break
            command = command.commands[name]
        else:
            options = {option for param in command.params for option in param.opts} | {"--help"}
            used = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][\w=./-]*", word)}
            wrong += [f"fieldproof-{program} … {option}" for option in sorted(used - options)]
    assert wrong == []
