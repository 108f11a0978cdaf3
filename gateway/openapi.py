"""`python -m gateway.openapi` writes gateway/openapi.json; `--check` only compares.

The committed document is the contract of the REST surface: a change of it is read in review.
OpenAPI 3.1, made from the same tables that serve.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from gateway.app import make_api

DOCUMENT: Final = Path(__file__).resolve().parent / "openapi.json"


def document() -> str:
    """The document as text; the same routes, the same text."""
    return json.dumps(make_api().openapi(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m gateway.openapi [--check]", file=sys.stderr)
        return 2
    made = document()
    if arguments:
        if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == made:
            return 0
        print(f"{DOCUMENT.name} is stale: run python -m gateway.openapi", file=sys.stderr)
        return 1
    DOCUMENT.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
