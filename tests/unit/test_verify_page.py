"""The verify page without a browser: its verdicts on every vector, and how it is served."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.explaining import explain
from cli.judging import Verdict, judge_files
from cli.reading import event_lines
from cli.trust import Trust, read_institutions
from cli.words import LANGUAGES, Words, words_in
from gateway.app import make_app
from gateway.clients import Services
from gateway.config import PEERS
from gateway.sse import Streams
from kernel.acts import key_id, public_bytes, sign_act
from kernel.auth import TokenVerifier
from kernel.clock import FixedClock
from kernel.identities import Identities
from kernel.tlog.checkpoint import MldsaSigner, cosign_line
from kernel.tlog.note import MLDSA44, add_lines
from kernel.tlog.policy import parse_policy, policy_fingerprint
from kernel.tlog.proof import parse_proof
from kernel.tlog.receipt import make_receipt, split_receipt
from kernel.values import Act
from tests.support.checkout import ROOT
from tests.support.small_log import SmallLog, sale_body
from tests.support.small_states import BATCH, SmallStates, pledge_statement
from tests.support.webpage import build_page, run_node

MORNING_MS = 1_790_000_000_000
POLICY = b"quorum none\n"
VECTORS = ROOT / "tests" / "vectors"
RECEIPTS, STATES = (
    json.loads((VECTORS / "tlog" / f"{name}.json").read_text()) for name in ("receipts", "states")
)


def base(data: bytes) -> str:
    return base64.b64encode(data).decode()


def squeezed(*texts: str) -> str:
    """Without the spaces and the marks by which a terminal's lines differ from a page's."""
    return re.sub(r"\s", "", "".join(texts))


def test_the_page_judges_every_vector_as_the_kernel_does() -> None:
    told = run_node("node_vectors.ts", str(ROOT / "tests" / "vectors" / "tlog"))
    assert told["wrong"] == []
    assert told["judged"] > 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_event_is_read_as_the_tool_reads_it(language: str) -> None:
    files = sorted((VECTORS / "events").glob("*.json"))
    records = [json.loads(path.read_text())["record"] for path in files]
    page = run_node("node_reading.ts", stdin=json.dumps({"records": records, "language": language}))
    assert len(page) == len(records) > 100
    for path, record, lines in zip(files, records, page, strict=True):
        tool = event_lines(json.loads(record), words_in(language), lambda _: "")
        told = [one["label"] + one["text"] for one in lines if one["label"]]
        assert squeezed(*told) == squeezed(*tool), path.name


FILES: dict[str, tuple[dict[str, Any], bytes]] = {
    "sale.receipt": (RECEIPTS, base64.b64decode(RECEIPTS["receipt_base64"])),
    **{
        f"{one['why']}.receipt": (RECEIPTS, base64.b64decode(one["receipt_base64"]))
        for one in RECEIPTS["refused"]
    },
    **{
        name: (STATES, base64.b64decode(STATES[name.partition(".")[0]]["file_base64"]))
        for name in ("lien.lien", "ended.lien", "holding.holding")
    },
    **{
        f"{one['why']}.lien": (STATES, base64.b64decode(one["file_base64"]))
        for one in STATES["refused"]
    },
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("vectors", [RECEIPTS, STATES], ids=["receipts", "states"])
def test_the_page_says_of_a_file_what_the_tool_says(
    vectors: dict[str, Any], language: str, tmp_path: Path
) -> None:
    """All of it, in the same order; the tool also prints the file's name and the policy's place."""
    policy = vectors["policy"].encode()
    files = {name: data for name, (of, data) in FILES.items() if of is vectors}
    asked = {"policy": base(policy), "language": language, "files": list(map(base, files.values()))}
    words = words_in(language)
    trust = Trust(parse_policy(policy), Path("policy.txt"), policy_fingerprint(policy))
    for name, told in zip(files, run_node("node_judge.ts", stdin=json.dumps(asked)), strict=True):
        path = tmp_path / name
        path.write_bytes(files[name])
        (verdict,) = judge_files([path], trust)
        tool = squeezed(*explain(verdict, trust, words))
        assert told["state"] == ("verified" if verdict.valid else "refused"), name
        for text in sentences(told):
            assert squeezed(text) in tool, name
            tool = tool.replace(squeezed(text), "", 1)
        assert tool == squeezed(*frame(told, verdict, trust, words)), name


def sentences(told: dict[str, Any]) -> list[str]:
    """What the page says, but for an error's own words: of them only the part is the same."""
    sections = [one["lines"] for one in told["sections"] if one["name"] != "detail"]
    return [told["summary"], *(one["label"] + one["text"] for lines in sections for one in lines)]


def details(told: dict[str, Any]) -> list[str]:
    return [one["text"] for section in told["sections"] for one in section["lines"]]


def frame(told: dict[str, Any], verdict: Verdict, trust: Trust, words: Words) -> list[str]:
    """What the tool prints around that: headings, the file's name, the policy's place and name."""
    named = [one["name"] for one in told["sections"] if one["name"] not in ("proved", "event")]
    headings = ["proved", *named] if told["state"] == "verified" else named
    error = [] if verdict.refused is None else [str(verdict.refused)]
    digits = trust.fingerprint.partition(":")[2]
    places = [words.say("policy"), str(trust.source), trust.fingerprint, digits]
    headline = [words.say(told["headline"]), ":", str(verdict.file)]
    return [*headline, *map(words.say, headings), *error, *places]


def test_a_state_that_is_not_the_newest_is_told_apart(tmp_path: Path) -> None:
    states = SmallStates()
    states.commit()
    states.commit()
    policy, path = states.policy.encode(), tmp_path / "older.lien"
    path.write_bytes(states.lien(0))
    asked = {"policy": base(policy), "language": "en", "files": [base(states.lien(0))]}
    (told,) = run_node("node_judge.ts", stdin=json.dumps(asked))
    trust = Trust(states.policy, Path("policy.txt"), policy_fingerprint(policy))
    tool = squeezed(*explain(judge_files([path], trust)[0], trust, words_in("en")))
    assert told["headline"] == "verified_older"
    assert tool.startswith(squeezed(words_in("en").say(told["headline"])))
    assert all(squeezed(text) in tool for text in sentences(told))


BANK_KEY, FOREST_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
BY_BOTH = [sign_act(key, {"kind": "pledge", "loan_fen": 100}) for key in (BANK_KEY, FOREST_KEY)]
FALSE = Act(BY_BOTH[0].key_id, BY_BOTH[1].signature, BY_BOTH[1].statement)


def row(key: Ed25519PrivateKey, subject: str, **more: Any) -> dict[str, Any]:
    public = public_bytes(key)
    return {"key_id": key_id(public), "public_key": base(public), "subject": subject, **more}


@pytest.mark.parametrize(
    ("acts", "keys", "said"),
    [
        (BY_BOTH, [], "2 of 2 not checked"),
        (BY_BOTH, [row(BANK_KEY, "h-bank")], "1 of 2 not checked"),
        (BY_BOTH, [row(BANK_KEY, "h-bank"), row(FOREST_KEY, "h-forest", revoked=True)], "revoked"),
        ([FALSE], [row(BANK_KEY, "h-bank")], "it is false by the key you have pinned"),
        ([FALSE], [], "1 of 1 not checked"),
    ],
)
def test_institutions_signatures_are_judged_as_the_tool_judges_them(
    acts: list[Act], keys: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    log = SmallLog()
    log.append(sale_body(), acts=[msgspec.to_builtins(act) for act in acts])
    log.fill(1)
    directory = json.dumps({"keys": keys}).encode()
    for name, data in (("sale.receipt", log.receipt(0)), ("institutions.json", directory)):
        (tmp_path / name).write_bytes(data)
    policy = log.policy.encode()
    asked = {
        "policy": base(policy),
        "institutions": base(directory),
        "language": "en",
        "files": [base(log.receipt(0))],
    }
    (told,) = run_node("node_judge.ts", stdin=json.dumps(asked))
    known = read_institutions(tmp_path / "institutions.json")
    trust = Trust(log.policy, Path("policy.txt"), policy_fingerprint(policy), known)
    (verdict,) = judge_files([tmp_path / "sale.receipt"], trust)
    assert told["state"] == ("verified" if verdict.valid else "refused")
    tool = squeezed(*explain(verdict, trust, words_in("en")))
    assert all(squeezed(text) in tool for text in sentences(told))
    assert said in " ".join(sentences(told))


def serials(first: int, last: int | str) -> dict[str, Any]:
    return {"batch": BATCH, "first": first, "last": last}


OTHERS: list[dict[str, Any]] = [
    {"kind": "pledge-release"},
    {"lien": "l-another00000001"},
    {"pledgor": "h-another00000001"},
    {"pledgee": "h-another00000001"},
    {"asset": "TICKET-LZXQ-2"},
    {"quantity_t": 1},
    {"quantity_t": "6000"},
    {"quantity_t": True},
    {"serials": [serials(1, 5_999)]},
    {"serials": [serials(1, 3_000), serials(3_002, 6_001)]},
    {"serials": [{"batch": "LZXQ-2022", "first": 1, "last": 6_000}]},
    {"serials": [serials(1, "6000")]},
    {"serials": "all"},
]
THIS: list[dict[str, Any]] = [
    {},
    {"serials": []},
    {"serials": [serials(1, 6_000)]},
    {"serials": [serials(3_001, 6_000), serials(1, 3_000)]},
]
SPACED = json.dumps(pledge_statement(), sort_keys=True)  # not the one spelling of it


def test_a_signature_under_a_lien_must_be_over_this_pledge(tmp_path: Path) -> None:
    """Of a key that is known; what is not checked is told as such, whatever stands there."""
    keys = json.dumps({"keys": [row(BANK_KEY, "h-bank")]}).encode()
    (tmp_path / "institutions.json").write_bytes(keys)
    acts = [sign_act(BANK_KEY, pledge_statement(**other)) for other in (*THIS, *OTHERS)]
    spaced = BANK_KEY.sign(b"tanzhang-act/v1\n" + SPACED.encode())
    acts += [Act(acts[0].key_id, base(spaced), SPACED)]
    acts += [sign_act(FOREST_KEY, pledge_statement(quantity_t=1))]
    files = [lien_with(act) for act in acts]
    policy = SmallStates().policy
    asked = {"policy": base(policy.encode()), "institutions": base(keys), "language": "en"}
    page = run_node("node_judge.ts", stdin=json.dumps({**asked, "files": [*map(base, files)]}))
    known = read_institutions(tmp_path / "institutions.json")
    trust = Trust(policy, Path("policy.txt"), "sha256:00", known)
    holds = [*[True] * len(THIS), *[False] * (len(OTHERS) + 1), True]
    for file, told, held in zip(files, page, holds, strict=True):
        (tmp_path / "bank.lien").write_bytes(file)
        (verdict,) = judge_files([tmp_path / "bank.lien"], trust)
        assert (verdict.valid, told["state"]) == (held, "verified" if held else "refused")
        assert held or (verdict.refused is not None and verdict.refused.part == "act")
        tool = squeezed(*explain(verdict, trust, words_in("en")))
        assert all(squeezed(text) in tool for text in sentences(told))
        assert held or "signed something else" in " ".join(details(told))
    assert "the signature holds" in " ".join(sentences(page[0]))
    assert "1 of 1 not checked" in " ".join(sentences(page[-1]))


def lien_with(act: Act) -> bytes:
    states = SmallStates(acts=[act])
    states.commit()
    return states.lien(0)


def test_one_witness_that_signs_again_does_not_make_an_old_state_new(tmp_path: Path) -> None:
    states = SmallStates()
    states.commit()
    policy = states.collude(1_895_000_000)
    path = tmp_path / "old.lien"
    path.write_bytes(states.lien(0))
    asked = {"policy": base(policy.encode()), "language": "en", "files": [base(path.read_bytes())]}
    (page,) = run_node("node_judge.ts", stdin=json.dumps(asked))
    trust = Trust(policy, Path("policy.txt"), policy_fingerprint(policy.encode()))
    tool = squeezed(*explain(judge_files([path], trust)[0], trust, words_in("en")))
    assert all(squeezed(text) in tool for text in sentences(page))
    assert "The witness bank saw the log at 2026-11-18T11:06:40Z" in " ".join(sentences(page))
    assert "colluder): agrees, 2030-" in " ".join(sentences(page))


@pytest.mark.parametrize("honest", [True, False])
def test_a_witness_with_an_mldsa_key_counts_and_its_false_signature_spoils_the_file(
    honest: bool,
) -> None:
    log = SmallLog()
    log.append(sale_body())
    log.fill(1)
    keys = [MldsaSigner("bank.test/pq", MLDSA44, bytes([n]) * 32) for n in range(2)]
    witness = f"witness pq {keys[0].verifier.vkey}\nquorum pq".encode()
    policy = log.policy.encode().replace(b"quorum none", witness)
    record, salt, proof = split_receipt(log.receipt(0))
    signed = parse_proof(proof).checkpoint
    line = cosign_line(signed, keys[0], 1_795_000_000)
    if not honest:
        _, name, blob = cosign_line(signed, keys[1], 1_795_000_000).split(" ")
        false = base64.b64decode(blob)
        line = f"— {name} {base(keys[0].key_id.to_bytes(4, 'big') + false[4:])}\n"
    receipt = make_receipt(record, salt, proof.replace(signed, add_lines(signed, [line])))
    asked = {"policy": base(policy), "language": "en", "files": [base(receipt)]}
    (told,) = run_node("node_judge.ts", stdin=json.dumps(asked))
    assert told["state"] == ("verified" if honest else "refused")
    if honest:
        assert "bank.test/pq): agrees, 2026-11-18T" in " ".join(sentences(told))
    else:
        assert any(text.startswith("checkpoint: ") for text in details(told))


@pytest.fixture(scope="module")
def built() -> dict[str, bytes]:
    folder = build_page()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
async def client(built: dict[str, bytes], tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    policy = tmp_path / "policy.txt"
    policy.write_bytes(POLICY)
    services, clock = Services(dict.fromkeys(PEERS, "127.0.0.1:9")), FixedClock(MORNING_MS)
    verifier = TokenVerifier(Identities([], [], 1), clock)
    app = make_app(services, verifier, Streams(), clock, policy)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as one:
        yield one
    await services.close()


async def test_every_built_file_is_served_whole_and_named_by_its_kind(
    client: httpx.AsyncClient, built: dict[str, bytes]
) -> None:
    assert {"index.html", "sw.js", "manifest.webmanifest", "icon.svg"} < set(built)
    for name, data in built.items():
        answer = await client.get(f"/verify/{name}")
        assert answer.content == data
        assert "octet-stream" not in answer.headers["content-type"]


async def test_the_page_is_asked_for_again_and_its_parts_are_kept(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/verify/")
    assert page.headers["cache-control"] == "no-cache"
    (script,) = re.findall(r'src="\./(assets/[^"]+\.js)"', page.text)
    part = await client.get(f"/verify/{script}")
    assert "immutable" in part.headers["cache-control"]
    again = await client.get("/verify/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    packed = await client.get(f"/verify/{script}", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == part.content


async def test_the_page_has_one_set_of_rules_and_they_allow_nothing_inline(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/verify/")
    (rules,) = page.headers.get_list("content-security-policy")
    assert rules.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in rules
    assert page.headers.get_list("x-content-type-options") == ["nosniff"]
    elsewhere = await client.get("/healthz")
    (rules,) = elsewhere.headers.get_list("content-security-policy")
    assert rules == "default-src 'none'; frame-ancestors 'none'"


async def test_the_suggested_policy_is_the_deployments_file_as_it_is_now(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    assert (await client.get("/verify/policy.txt")).content == POLICY
    (tmp_path / "policy.txt").unlink()
    gone = await client.get("/verify/policy.txt")
    assert (gone.status_code, gone.json()["reason"]) == (404, "UNKNOWN_RESOURCE")


@pytest.mark.parametrize("name", ["%2e%2e/app.py", "assets", "assets/%2e%2e/sw.js", "none.js"])
async def test_nothing_but_the_page_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/verify/{name}")).status_code == 404


async def test_the_address_without_its_slash_leads_to_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/verify")
    assert (answer.status_code, answer.headers["location"]) == (308, "/verify/")
