"""Forgeries hold in everything but whom they come from, and that is what refuses them."""

from __future__ import annotations

import pytest

from cli.offline import bring_own_policy, change_byte, find_isolation, forge
from kernel.tlog.errors import ReceiptError
from kernel.tlog.receipt import split_receipt, verify_receipt
from tests.support.small_log import SmallLog, sale_body


@pytest.fixture
def log() -> SmallLog:
    log = SmallLog()
    log.fill(3)
    log.append(sale_body())
    log.fill(5)
    return log


def test_a_changed_byte_is_one_byte(log: SmallLog) -> None:
    good = log.receipt(3)
    before, after = split_receipt(good)[0], split_receipt(change_byte(good))[0]
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    with pytest.raises(ReceiptError) as caught:
        verify_receipt(change_byte(good), log.policy)
    assert caught.value.part == "event.bin or salt"


def test_a_forged_log_convinces_only_who_trusts_the_forger(log: SmallLog) -> None:
    forged, forgers_policy = forge(log.receipt(3))
    assert verify_receipt(forged, forgers_policy).position == 3
    with pytest.raises(ReceiptError) as caught:
        verify_receipt(forged, log.policy)
    assert caught.value.part == "checkpoint"


def test_a_receipt_cannot_bring_its_own_policy(log: SmallLog) -> None:
    forged, forgers_policy = forge(log.receipt(3))
    with pytest.raises(ReceiptError) as caught:
        verify_receipt(bring_own_policy(forged, forgers_policy), log.policy)
    assert caught.value.part == "container"


def test_isolation_says_how_it_isolates() -> None:
    assert "network namespace" in find_isolation().how
