"""A mirror believes nothing it has not computed, and remembers what a log has shown before."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cli.app import run
from cli.mirror import Mirrored, MirrorRefused, mirror_log, read_entries
from kernel.errors import Kind, Refused
from kernel.tlog.encoding import encode_base64
from kernel.tlog.tiles import parse_tile_path
from tests.support.small_log import SmallLog
from tests.support.static_host import static_host


def mirror(folder: Path, log: SmallLog, *, without_partials: bool = False) -> Mirrored:
    """Bring a folder up to a log's newest checkpoint, as the command does."""

    async def fetch(path: str) -> bytes:
        if without_partials and parse_tile_path(path).width < 256:
            raise Refused("TILE_NOT_COVERED", "the tile is full by now", Kind.UNKNOWN)
        return log.tile(path)

    return asyncio.run(mirror_log(folder, log.checkpoint(), log.policy, fetch))


def log_of(count: int) -> SmallLog:
    log = SmallLog()
    log.fill(count)
    return log


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 700, 65_536 + 300])
def test_a_mirror_holds_every_entry_under_the_signed_root(tmp_path: Path, size: int) -> None:
    log = log_of(size)
    done = mirror(tmp_path, log)
    assert (done.size, done.root) == (size, log.root())
    assert list(read_entries(tmp_path, size)) == log.entries
    assert (tmp_path / "checkpoint").read_bytes() == log.checkpoint()
    assert (tmp_path / "policy.txt").read_bytes() == log.policy.encode()


def test_a_second_mirroring_fetches_only_what_is_new(tmp_path: Path) -> None:
    log = log_of(600)
    first = mirror(tmp_path, log)
    log.fill(200)
    second = mirror(tmp_path, log)
    # two full tiles and two full bundles stay; a third of each has filled, level 1 has grown
    assert (first.fetched, first.kept) == (7, 0)
    assert (second.fetched, second.kept, second.earlier_size) == (5, 4, 600)
    partial = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.p/*")}
    # what has filled is dropped; of level 1 both stay: the checkpoint of 600 entries was shown
    level_1 = {"tile/1/000.p/2", "tile/1/000.p/3"}
    assert partial == {"tile/0/003.p/32", "tile/entries/003.p/32"} | level_1


def test_a_partial_tile_that_has_filled_meanwhile_is_cut_from_the_full_one(tmp_path: Path) -> None:
    log, grown = log_of(300), log_of(512)

    async def fetch(path: str) -> bytes:
        if parse_tile_path(path).width == 44:
            raise Refused("TILE_NOT_COVERED", "the tile is full by now", Kind.UNKNOWN)
        return grown.tile(path)

    done = asyncio.run(mirror_log(tmp_path, log.checkpoint(), log.policy, fetch))
    assert done.root == log.root()
    assert list(read_entries(tmp_path, 300)) == log.entries


def test_two_histories_are_called_a_fork_and_both_roots_are_named(tmp_path: Path) -> None:
    log = log_of(300)
    mirror(tmp_path, log)
    other = SmallLog()
    other.append({"legs": []})
    other.fill(400)
    with pytest.raises(MirrorRefused, match="fork at 300 entries") as caught:
        mirror(tmp_path, other)
    assert encode_base64(log.root()) in str(caught.value)
    assert encode_base64(other.root(300)) in str(caught.value)
    assert (tmp_path / "checkpoint").read_bytes() == log.checkpoint()


def test_two_roots_of_one_size_are_a_fork_too(tmp_path: Path) -> None:
    log = log_of(10)
    mirror(tmp_path, log)
    other = SmallLog()
    other.append({"legs": []})
    other.fill(9)
    with pytest.raises(MirrorRefused, match="fork at 10 entries"):
        mirror(tmp_path, other)


def test_a_log_that_went_back_is_refused(tmp_path: Path) -> None:
    mirror(tmp_path, log_of(41))
    with pytest.raises(MirrorRefused, match="had 41 entries, got 40"):
        mirror(tmp_path, log_of(40))


def test_a_foreign_key_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    log, foreign = log_of(10), SmallLog(seed=b"foreign")
    foreign.fill(10)

    async def fetch(path: str) -> bytes:
        return foreign.tile(path)

    with pytest.raises(MirrorRefused, match="the log's checkpoint"):
        asyncio.run(mirror_log(tmp_path / "copy", foreign.checkpoint(), log.policy, fetch))
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tile/0/000", "tile/entries/000: expected the entries whose hashes"),
        ("tile/entries/001", "tile/entries/001: "),
    ],
)
def test_a_kept_tile_that_was_changed_is_named(tmp_path: Path, name: str, expected: str) -> None:
    log = log_of(600)
    mirror(tmp_path, log)
    data = bytearray((tmp_path / name).read_bytes())
    data[100] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MirrorRefused, match=expected):
        mirror(tmp_path, log)


def test_a_tile_that_does_not_lead_to_the_one_above_is_named(tmp_path: Path) -> None:
    log, other = log_of(600), SmallLog(seed=b"")
    other.append({"legs": []})
    other.fill(599)

    async def fetch(path: str) -> bytes:
        level, n, _ = parse_tile_path(path)
        return (other if n == 0 and level in (0, None) else log).tile(path)

    with pytest.raises(MirrorRefused, match="tile/0/000: expected the hash"):
        asyncio.run(mirror_log(tmp_path, log.checkpoint(), log.policy, fetch))
    assert not (tmp_path / "checkpoint").exists()


def test_a_mirror_is_mirrored_again_from_any_static_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = log_of(700)
    mirror(tmp_path / "first", log)
    policy = ["--policy", str(tmp_path / "first" / "policy.txt"), "--json"]
    with static_host(tmp_path / "first") as host:
        again = ["ledger", "mirror", host.url, str(tmp_path / "second"), *policy]
        assert run(again) == 0
        first = json.loads(capsys.readouterr().out)
        log.fill(70)  # 770: one more tile has filled
        mirror(tmp_path / "first", log)
        host.asked.clear()
        assert run(again) == 0
        second = json.loads(capsys.readouterr().out)
        assert "/tile/entries/000" not in host.asked
    assert (first["tree_size"], second["tree_size"]) == (700, 770)
    assert list(read_entries(tmp_path / "second", 770)) == log.entries
    assert list(read_entries(tmp_path / "second", 770, begin=300)) == log.entries[300:]
    assert run(["ledger", "mirror", str(tmp_path / "second"), str(tmp_path / "3rd"), *policy]) == 0


def test_what_an_interrupted_run_had_brought_is_kept(tmp_path: Path) -> None:
    log = log_of(800)

    async def broken(path: str) -> bytes:
        if path == "tile/entries/002":
            raise ConnectionError("the line is cut")
        return log.tile(path)

    with pytest.raises(ConnectionError):
        asyncio.run(mirror_log(tmp_path, log.checkpoint(), log.policy, broken))
    assert not (tmp_path / "checkpoint").exists()
    done = mirror(tmp_path, log)
    assert (done.size, done.kept > 0) == (800, True)


def test_what_was_checked_before_need_not_be_read_again(tmp_path: Path) -> None:
    log = log_of(600)
    mirror(tmp_path, log)
    (tmp_path / "tile" / "entries" / "000").write_bytes(b"changed, and not looked at")
    log.fill(100)

    async def fetch(path: str) -> bytes:
        return log.tile(path)

    quick = mirror_log(tmp_path, log.checkpoint(), log.policy, fetch, recheck=False)
    assert asyncio.run(quick).root == log.root()
    log.fill(1)
    with pytest.raises(MirrorRefused, match="tile/entries/000"):
        mirror(tmp_path, log)


def test_an_older_checkpoint_from_elsewhere_must_lie_on_the_way_too(tmp_path: Path) -> None:
    log, other = log_of(600), SmallLog()
    other.append({"legs": []})
    other.fill(299)
    foreign = other.policy.open_checkpoint(other.checkpoint()).checkpoint

    async def fetch(path: str) -> bytes:
        return log.tile(path)

    with pytest.raises(MirrorRefused, match="fork at 300 entries") as caught:
        asyncio.run(mirror_log(tmp_path, log.checkpoint(), log.policy, fetch, since=[foreign]))
    assert caught.value.rule == "FORK"
    assert not (tmp_path / "checkpoint").exists()
