"""What a watcher says aloud: every change, every doubt, and a log that stands still."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.app import run
from cli.errors import CliError
from cli.proofs import Desk, fetch_lien
from cli.watch import Watch, changes, is_old, seen_of
from kernel.tlog.errors import ReceiptError
from kernel.tlog.states import SerialRange, verify_lien
from tests.support.small_states import BATCH, LIEN, WITNESSED_AT_S, SmallStates

NOW_MS = WITNESSED_AT_S * 1000 + 60_000


class Told:
    """A gateway that answers what a test gives it."""

    url = "http://127.0.0.1:9"
    path = f"/v1/liens/{LIEN}/proof"

    def __init__(self, states: SmallStates) -> None:
        self.states = states
        self.answer: bytes | CliError = states.lien(0)

    async def file(self, path: str, parameters: dict[str, Any] | None = None) -> bytes:
        assert path == self.path
        if isinstance(self.answer, CliError):
            raise self.answer
        return self.answer


def watch(desk: Told, folder: Path) -> Watch:
    watched: Any = desk
    return Watch(LIEN, watched, desk.states.policy, folder / "seen.json", 5)


@pytest.fixture
def states() -> SmallStates:
    made = SmallStates()
    made.commit()
    return made


def kinds(watched: Watch, now_ms: int = NOW_MS) -> list[str]:
    return [one.kind for one in asyncio.run(watched.once(now_ms))]


def test_the_first_round_only_learns_what_is_there(states: SmallStates, tmp_path: Path) -> None:
    watched = watch(Told(states), tmp_path)
    assert kinds(watched) == []
    assert watched.seen is not None
    assert watched.seen.serials == [SerialRange(BATCH, 1, 6_000)]
    again = watch(Told(states), tmp_path)
    assert again.seen == watched.seen


def test_what_does_not_verify_is_said_and_not_kept(states: SmallStates, tmp_path: Path) -> None:
    desk = Told(states)
    desk.answer = states.lien(0)[:-1]
    watched = watch(desk, tmp_path)
    assert kinds(watched) == ["UNBELIEVED"]
    assert not (tmp_path / "seen.json").exists()


def test_the_file_of_another_lien_is_not_taken_for_the_one_asked_for(states: SmallStates) -> None:
    desk: Any = Told(states)
    desk.path = "/v1/liens/l-another/proof"
    with pytest.raises(ReceiptError, match="expected lien l-another, got l-qinwangchuan0001"):
        asyncio.run(fetch_lien(desk, "l-another", states.policy))


def test_a_log_that_stands_still_is_said_also_while_nobody_answers(
    states: SmallStates, tmp_path: Path
) -> None:
    desk = Told(states)
    watched = watch(desk, tmp_path)
    assert kinds(watched) == []
    desk.answer = CliError("nobody there")
    assert kinds(watched) == ["UNREACHABLE"]
    assert kinds(watched, NOW_MS + 300_000) == ["UNREACHABLE", "OLD"]


def test_what_was_seen_must_be_readable(states: SmallStates, tmp_path: Path) -> None:
    (tmp_path / "seen.json").write_text("{}")
    with pytest.raises(CliError, match="expected what was seen before"):
        watch(Told(states), tmp_path)


def test_every_change_is_said_with_both_sides(states: SmallStates) -> None:
    before = seen_of(verify_lien(states.lien(0), states.policy), states.policy)
    fewer = msgspec.structs.replace(
        before, quantity=5_999, serials=[SerialRange(BATCH, 1, 5_999)], state=1
    )
    (told,) = changes(before, fewer)
    assert told.text == (
        "expected 6000 TICKET-LZXQ-1 (1..6000 of LZXQ-2021), "
        "got 5999 TICKET-LZXQ-1 (1..5999 of LZXQ-2021)"
    )
    elsewhere = msgspec.structs.replace(before, serials=[SerialRange(BATCH, 2, 6_001)])
    assert [one.kind for one in changes(before, elsewhere)] == ["CHANGED"]
    other = msgspec.structs.replace(before, pledgee="h-other")
    assert [one.kind for one in changes(before, other)] == ["CHANGED"]
    assert [one.kind for one in changes(fewer, msgspec.structs.replace(fewer, state=0))] == [
        "WENT_BACK"
    ]
    assert list(changes(before, before)) == []


def test_one_witness_that_signs_again_does_not_make_an_old_state_young(
    states: SmallStates,
) -> None:
    policy = states.collude(WITNESSED_AT_S + 86_400)
    seen = seen_of(verify_lien(states.lien(0), policy), policy)
    assert seen.at_ms == WITNESSED_AT_S * 1000
    assert [one.kind for one in is_old(seen, (WITNESSED_AT_S + 86_400) * 1000, 5)] == ["OLD"]


def test_age_counts_from_the_latest_witness(states: SmallStates) -> None:
    seen = seen_of(verify_lien(states.lien(0), states.policy), states.policy)
    assert list(is_old(seen, WITNESSED_AT_S * 1000 + 299_999, 5)) == []
    (told,) = is_old(seen, WITNESSED_AT_S * 1000 + 300_000, 5)
    assert told.kind == "OLD"


def test_who_has_no_token_is_told_what_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["proof", "lien", "l-1", "--url", Told.url, "--dir", str(tmp_path)])
    assert code == 2
    assert "expected --token FILE, or --holder" in capsys.readouterr().err


def test_a_gateway_that_is_away_could_not_be_asked(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    desk = Desk(Told.url, tmp_path / "token", "", tmp_path)
    with pytest.raises(CliError) as away:
        asyncio.run(desk.file("/v1/liens/x/proof"))
    assert away.value.exit_code == 2
