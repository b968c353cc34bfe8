"""What the product can say, for pages that quote it."""

from __future__ import annotations

import ast

from proof.reasons import Reason
from tests.docs_commands import ROOT


def texts() -> str:
    """Everything the product can say: its string literals, one a line, what is filled in left out."""
    found = [text for reason in Reason for text in (reason.sentence, reason.remedy)]
    for package in ("agent", "drivers", "gateway", "proof", "provisioning", "verifier"):
        for path in (ROOT / package).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)
