"""Whatever becomes of a file on its way, the verify page and the kernel name the same part.

Changed bytes, and claims whose values are of other kinds, in sound containers: each is judged by
both. The seed is fixed; a difference prints the file's number and both verdicts.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kernel.tlog.container import pack_members, unpack_members
from kernel.tlog.errors import ReceiptError
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.receipt import verify_receipt
from kernel.tlog.states import HOLDING, LIEN, kind_of_file, verify_holding, verify_lien
from tests.support.checkout import ROOT
from tests.support.webpage import run_node

FOLDER = ROOT / "tests" / "vectors" / "tlog"
RECEIPTS, STATES = (
    json.loads((FOLDER / f"{name}.json").read_text()) for name in ("receipts", "states")
)
FILES = {
    "receipts": (RECEIPTS, [RECEIPTS["receipt_base64"]]),
    "states": (STATES, [STATES[one]["file_base64"] for one in ("lien", "ended", "holding")]),
}
COUNT = 400  # files of each kind; a second for both
ROOM = 1 << 23
MEMBERS = {
    None: ("event.bin", "salt", "event.tlog-proof"),
    HOLDING: ("claim.json", "state.bin", "state.tlog-proof"),
    LIEN: ("claim.json", "state.bin", "state.tlog-proof", "pledge.receipt"),
}
PIECES = (
    b"\n",
    b" ",
    b"\0",
    b"0",
    b"=",
    b"+",
    b"\xc2\xa0",
    b"\xef\xbb\xbf",
    b'"',
    b"\\ud800",
    b".0",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**53,
    2**63,
    2**64,
    1.0,
    1.5,
    "",
    "é",
    "\u2028",
    [],
    {},
    [1],
)
VERIFY: dict[str | None, Callable[[bytes, Policy], object]] = {
    None: verify_receipt,
    HOLDING: verify_holding,
    LIEN: verify_lien,
}


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    at, until = sorted(chance.choices(range(len(data) + 1), k=2))
    match chance.randrange(4):
        case 0:
            return data[:at] + data[at + 1 :]
        case 1:
            return data[:at] + chance.choice(PIECES) + data[at:]
        case 2:
            return data[:until] + data[at:until][:60] + data[until:]
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*path, name))
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from places(one, (*path, number))


def changed_claim(data: bytes, chance: random.Random) -> bytes:
    claim = json.loads(data)
    *way, last = chance.choice(list(places(claim)))
    holder = claim
    for step in way:
        holder = holder[step]
    match chance.randrange(3):
        case 0:
            del holder[last]
        case 1 if isinstance(holder, list):
            holder.insert(last, copy.deepcopy(holder[last]))
        case 1:
            holder[chance.choice(("other", "salt", "x"))] = chance.choice(VALUES)
        case _:
            holder[last] = chance.choice(VALUES)
    text = json.dumps(claim, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode()


def changed_file(data: bytes, chance: random.Random) -> bytes:
    if chance.randrange(5) == 0:
        return changed_bytes(data, chance)
    members = unpack_members(data, dict.fromkeys(MEMBERS[kind_of_file(data)], ROOM))
    name = "claim.json" if chance.randrange(2) else chance.choice(list(members))
    if name == "claim.json" and name in members:
        members[name] = changed_claim(members[name], chance)
    elif name in members:
        members[name] = changed_bytes(members[name], chance)
    return pack_members(members)


def verdict_of_the_kernel(data: bytes, policy: Policy) -> str:
    try:
        VERIFY[kind_of_file(data)](data, policy)
    except ReceiptError as error:
        return error.part
    return "verified"


def verdict_of_the_page(told: dict[str, Any]) -> str:
    if told["state"] != "refused":
        return str(told["state"])
    (detail,) = (one["lines"] for one in told["sections"] if one["name"] == "detail")
    return str(detail[0]["text"]).partition(": ")[0]


@pytest.mark.parametrize("kind", FILES)
def test_the_page_and_the_kernel_name_the_same_part_of_every_changed_file(kind: str) -> None:
    vectors, files = FILES[kind]
    chance = random.Random(20261130)
    whole = [base64.b64decode(one) for one in files]
    changed = [changed_file(chance.choice(whole), chance) for _ in range(COUNT)]
    encoded = [base64.b64encode(one).decode() for one in changed]
    policy = vectors["policy"].encode()
    asked = {"policy": base64.b64encode(policy).decode(), "language": "en", "files": encoded}
    page = map(verdict_of_the_page, run_node("node_judge.ts", stdin=json.dumps(asked)))
    kernel = [verdict_of_the_kernel(one, parse_policy(policy)) for one in changed]
    pairs = enumerate(zip(kernel, page, strict=True))
    assert [(number, pair) for number, pair in pairs if pair[0] != pair[1]] == []
    assert len(set(kernel)) > 5  # many parts were tried
