"""`fieldproof-verify FILE --gateway-key KEY`: exit code 0 where the bundle is good, else 2.

The gateway's public key comes from the network's operator, not from whoever handed over the bundle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proof.keys import PUBLIC_KEY_BYTES, public_key_of
from proof.reasons import Refused
from verifier import command
from verifier.command import Job, Unusable

File = Annotated[Path, typer.Argument(help="An evidence bundle.", dir_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="For machines; docs/evidence.md has the fields.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Also unpack the readings into this new CSV file.")]
Senml = Annotated[
    Path | None, typer.Option("--senml", help="Also unpack them into this new SenML file (JSON, RFC 8428).")
]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    app(prog_name="fieldproof-verify")


@app.command()
def verify(
    file: File,
    gateway_key: Annotated[
        list[str], typer.Option(help="The gateway's public key in hex, or its did:key; once for each.")
    ],
    as_json: AsJson = False,
    csv: Csv = None,
    senml: Senml = None,
) -> None:
    """Judge an evidence bundle, offline, with nothing but the gateways' public keys."""
    try:
        keys = [public_key(text) for text in gateway_key]
    except Unusable as error:
        raise typer.Exit(command.fail(error, as_json, "fieldproof-verify")) from None
    raise typer.Exit(command.run(Job(file, keys, as_json, csv, senml), "fieldproof-verify"))


def public_key(text: str) -> bytes:
    try:
        if text.startswith("did:key:"):
            return public_key_of(text)
        if len(text) == 2 * PUBLIC_KEY_BYTES:
            return bytes.fromhex(text)
    except (Refused, ValueError):
        raise Unusable(f"{text[:80]!r} is not a public key.") from None
    raise Unusable(f"{text[:80]!r} is not a public key: 64 hex digits or did:key:… were expected.")


if __name__ == "__main__":
    main()
