"""The data files that ship with vultus, and the list of what they should be.

``python -m vultus.cli.assets`` writes the list anew (``make checksums``), for whoever changes a file on purpose.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import resources
from pathlib import Path

PACKAGE = Path(str(resources.files("vultus")))
LIST = PACKAGE / "assets" / "SHA256SUMS"


def asset_files() -> dict[str, Path]:
    """Every file in the package's ``assets`` folders by its path relative to the package."""
    found = (path for path in PACKAGE.rglob("assets/*") if path.is_file() and path != LIST)
    return {path.relative_to(PACKAGE).as_posix(): path for path in found if path.suffix not in (".md", ".py")}


def expected_sha256() -> dict[str, str]:
    """What the list says: path relative to the package -> SHA-256."""
    rows = (line.split("  ", 1) for line in LIST.read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in rows}


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listing() -> str:
    """The list as it should be, in the format of ``sha256sum``."""
    return "".join(f"{sha256(path)}  {name}\n" for name, path in sorted(asset_files().items()))


if __name__ == "__main__":
    LIST.write_text(listing(), encoding="utf-8")
    print(f"wrote {LIST}", file=sys.stderr)
