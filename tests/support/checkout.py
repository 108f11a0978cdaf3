"""What belongs to this checkout: the files git tracks, or would once added.

Used by the house rules and by the tests that run the README in a copy. A folder without .git (an
unpacked archive) is walked instead. Never sees .venv, var or anything else that is ignored.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = {".venv", ".make", "var", "node_modules", "__pycache__"}  # for a folder without git


def checkout_files(root: Path = ROOT) -> list[str]:
    """Sorted paths relative to `root`, with slashes; what is tracked but deleted is left out."""
    if (root / ".git").exists():
        listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        # The owner may be another user where a runner clones as one and tests as another.
        git = ["git", "-c", f"safe.directory={root}", *listing]
        done = subprocess.run(git, cwd=root, check=True, capture_output=True)
        names = set(done.stdout.decode().rstrip("\0").split("\0"))
    else:
        names = {path.relative_to(root).as_posix() for path in root.rglob("*")}
        names = {name for name in names if not LOCAL & set(name.split("/"))}
    return sorted(name for name in names if (root / name).is_file())


def copy_checkout(into: Path) -> None:
    """Copy the checkout's files into a folder and lend it this checkout's .venv by a link."""
    for name in checkout_files():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, into / name)
    (into / ".venv").symlink_to(ROOT / ".venv")
