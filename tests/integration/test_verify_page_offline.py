"""The verify page in a real Chromium, served by a real gateway process, then with the network cut.

One browser for all. The tests are in the order of a clerk's day: with the network first; from the
fixture `cut` on, the gateway is stopped and the browser has no network.
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from cli.qr import address_of
from cli.stack.ports import free_port
from cli.stack.process import ServiceProcess
from cli.stack.provision import (
    GATEWAY,
    Endpoints,
    policy_file,
    provision,
    service_environment,
)
from gateway.config import PEERS
from tests.support.checkout import ROOT
from tests.support.small_log import SmallLog
from tests.support.webpage import Chromium, build_page
from tests.support.world import until

VECTORS = {
    path.stem: json.loads(path.read_text())
    for path in (ROOT / "tests" / "vectors" / "tlog").glob("*.json")
}
RECEIPTS, STATES = VECTORS["receipts"], VECTORS["states"]
NARROW_PX = 360


def unbase(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


LIEN = unbase(STATES["lien"]["file_base64"])
RECEIPT = unbase(RECEIPTS["receipt_base64"])


class Counter(NamedTuple):
    """A bank's counter: a browser, and a gateway that nothing stands behind."""

    browser: Chromium
    url: str
    gateway: ServiceProcess
    folder: Path

    def visit(self, language: str = "zh-CN", **changed: Any) -> None:
        """As a reader who was never here."""
        asked = {"url": self.url, "language": language, "width": 1000, "dark": False, **changed}
        self.browser("visit", **asked)

    def trust(self, policy: str, button: str = "已核对，信任此策略") -> None:
        self.browser("consider", data=base64.b64encode(policy.encode()).decode())
        self.browser("press", button=button)


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    build_page()
    folder = tmp_path_factory.mktemp("counter")
    port = free_port()
    nowhere = dict.fromkeys(PEERS, f"127.0.0.1:{free_port()}")
    endpoints = Endpoints(port, free_port(), "", "", nowhere)
    environment = service_environment(provision(folder), GATEWAY, endpoints)
    (folder / "logs").mkdir(exist_ok=True)
    gateway = ServiceProcess(GATEWAY, GATEWAY, port, environment, folder)
    gateway.start()
    browser = Chromium()
    try:
        url = f"http://127.0.0.1:{port}/verify/"
        until(lambda: is_served(url), "the gateway serves")
        yield Counter(browser, url, gateway, folder)
    finally:
        browser.close()
        stop(gateway)


def is_served(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def stop(gateway: ServiceProcess) -> None:
    if gateway.pid is not None:
        os.kill(gateway.pid, signal.SIGTERM)
        until(lambda: not gateway.running, "the gateway ends")


def test_nothing_is_judged_before_a_policy_is_trusted(counter: Counter) -> None:
    counter.visit()
    counter.browser("offer", name="pledge.lien", data=base64.b64encode(LIEN).decode())
    shown = counter.browser("shown")
    assert "请先在下方信任一份策略" in shown
    assert "验证通过" not in shown


def test_a_policy_is_trusted_after_its_fingerprint_was_shown_and_judges_what_waits(
    counter: Counter,
) -> None:
    policy = STATES["policy"].encode()
    shown = counter.browser("consider", data=base64.b64encode(policy).decode())
    fingerprint = sha256(policy).hexdigest()
    assert f"sha256:{fingerprint}" in shown
    assert all(fingerprint[at : at + 8] in shown.split() for at in range(0, 64, 8))
    assert "验证通过" not in shown
    counter.browser("press", button="已核对，信任此策略")
    verdict = counter.browser("verdict")
    assert (verdict["state"], verdict["focused"]) == ("verified", "verdict-heading")
    assert f"sha256:{fingerprint}" in verdict["text"]


def test_what_is_no_policy_is_not_trusted(counter: Counter) -> None:
    counter.browser("offer_policy", data=base64.b64encode(b"quorum all").decode())
    shown = counter.browser("shown")
    assert "这不是有效的策略" in shown
    assert "是否信任此策略" not in shown


def test_a_sites_own_policy_is_only_suggested(counter: Counter) -> None:
    counter.visit("en-US")
    counter.browser("press", button="See what this site suggests")
    shown = counter.browser("waited", text="Trust this policy?")
    suggested = policy_file(counter.folder).read_bytes()
    assert sha256(suggested).hexdigest() in shown
    assert "A site that wants to deceive you would suggest a policy of its own" in shown
    assert "No policy is trusted" in counter.browser("press", button="Cancel")


def test_institutions_keys_are_trusted_after_their_fingerprint_was_shown(counter: Counter) -> None:
    counter.visit("en-US")
    counter.trust(STATES["policy"], "I compared it: trust this policy")
    keys = b'{"keys":[]}'
    shown = counter.browser("consider_institutions", data=base64.b64encode(keys).decode())
    assert sha256(keys).hexdigest() in shown
    shown = counter.browser("press", button="I compared it: trust these keys")
    assert shown.count("Trusted on this device since") == 2
    shown = counter.browser("press", button="Stop trusting them")
    assert shown.count("Trusted on this device since") == 1


def test_the_browser_offers_to_install_the_page(counter: Counter) -> None:
    counter.browser("kept")
    # The tests' browser is one that forgets; a clerk's is not, and nothing else is in the way.
    assert counter.browser("hindrances") == ["in-incognito"]


@pytest.fixture(scope="module")
def cut(counter: Counter) -> Counter:
    """The page was opened once; then its server ends and the browser has no network."""
    counter.visit()
    counter.trust(STATES["policy"])
    counter.browser("kept")
    stop(counter.gateway)
    assert not is_served(counter.url)
    counter.browser("offline")
    counter.browser("reopen", url=counter.url)
    return counter


def test_the_kept_page_shows_that_serials_are_pledged_to_one_bank_alone(cut: Counter) -> None:
    told = cut.browser.open("pledge.lien", LIEN)
    assert told["state"] == "verified", told
    pledged = STATES["lien"]
    for said in (pledged["pledgee"], pledged["lien"], "6,000", "第 1 至 6,000 号"):
        assert said in told["text"]
    for said in ("不在其他质权之下", "bank", "regulator", "tanzhang.test/state", "未证明"):
        assert said in told["text"]


def test_the_same_is_said_in_english(cut: Counter) -> None:
    cut.browser("press", button="English")
    told = cut.browser("verdict")
    assert told["state"] == "verified"
    assert "it is under no other lien, and neither retired nor surrendered" in told["text"]
    assert "NOT PROVED" in told["text"].upper()


def test_a_lien_under_which_nothing_is_left_verifies_without_a_green_light(cut: Counter) -> None:
    told = cut.browser.open("ended.lien", unbase(STATES["ended"]["file_base64"]))
    assert (told["state"], told["qualified"]) == ("verified", True)
    assert told["heading"] == "VERIFIED, AND NOTHING IS PLEDGED ANY MORE"


def test_every_refused_state_names_the_part_that_differs(cut: Counter) -> None:
    for case in STATES["refused"]:
        told = cut.browser.open(f"{case['why']}.lien", unbase(case["file_base64"]))
        assert (case["why"], told["state"]) == (case["why"], "refused")
        assert told["part"].startswith(f"{case['part']}: "), case["why"]


def test_every_refused_receipt_names_the_part_that_differs(cut: Counter) -> None:
    cut.trust(RECEIPTS["policy"], "I compared it: trust this policy")
    assert cut.browser.open("registry-5.receipt", RECEIPT)["state"] == "verified"
    for case in RECEIPTS["refused"]:
        told = cut.browser.open(f"{case['why']}.receipt", unbase(case["receipt_base64"]))
        assert (case["why"], told["state"]) == (case["why"], "refused")
        assert told["part"].startswith(f"{case['part']}: "), case["why"]


def test_what_an_event_says_is_shown_as_text_and_never_obeyed(cut: Counter) -> None:
    log = SmallLog()
    log.append({"legs": [], "note": "<img src=x onerror=document.title='owned'>\u202egnp.exe"})
    log.fill(1)
    cut.trust(log.policy.encode().decode(), "I compared it: trust this policy")
    told = cut.browser.open("note.receipt", log.receipt(0))
    assert told["state"] == "verified"
    assert "<img src=x onerror=document.title='owned'>\ufffdgnp.exe" in told["text"]
    assert told["title"] == "Tanzhang Verify"


def test_every_vector_is_judged_in_this_browser_as_by_the_kernel(cut: Counter) -> None:
    told = cut.browser("vectors", vectors=VECTORS)
    assert told["wrong"] == []
    assert told["judged"] > 240


def test_a_scanned_code_opens_the_receipt_it_carries(cut: Counter) -> None:
    cut.trust(RECEIPTS["policy"], "I compared it: trust this policy")
    cut.browser("reopen", url=address_of(RECEIPT, cut.url))
    told = cut.browser("verdict")
    assert told["state"] == "verified"
    assert "registry" in told["text"]
    cut.browser("reopen", url=f"{cut.url}#r=AAAA")
    assert cut.browser("verdict")["state"] == "unread"


@pytest.mark.parametrize("width", [NARROW_PX, 1280])
def test_the_page_fits_its_screen_and_is_accessible(cut: Counter, width: int) -> None:
    cut.browser("reopen", url=address_of(RECEIPT, cut.url))
    cut.browser("verdict")
    sizes = cut.browser("size", width=width)
    assert sizes["page"] <= sizes["window"] == width
    assert cut.browser("axe") == []


def test_the_browser_forbade_nothing_and_asked_nobody_else(cut: Counter) -> None:
    told = cut.browser("told")
    assert told["problems"] == []
    assert told["asked"] != []
    assert all(asked.startswith(cut.url) for asked in told["asked"])
    assert not any("#" in asked or "policy.txt" in asked for asked in told["asked"])
