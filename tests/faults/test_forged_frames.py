"""Frames that somebody else puts on the bus: dropped, counted, and of no effect on any log."""

from __future__ import annotations

import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.bus import frames_subject
from kernel.frames import Frame, FrameSigner, StoredEvent, encode_frame
from kernel.record import commit
from tests.support.world import World, until


def next_frame(world: World) -> Frame:
    """The last frame again with more money in it, as if it were the next one, commitments right."""
    last = world.frames("accounts")[-1]
    record = last.events[-1].record.replace(b'"amount":1,', b'"amount":999,')
    event = StoredEvent(last.last + 1, record, bytes(16), commit(bytes(16), record))
    return last._replace(first=event.position, events=[event])


def with_a_key_of_their_own(frame: Frame) -> Frame:
    signer = FrameSigner(Ed25519PrivateKey.generate())
    (signed,) = signer.cut(frame.book, frame.book_id, frame.events)
    return signed


def with_our_key_id(frame: Frame) -> Frame:
    return with_a_key_of_their_own(frame)._replace(key_id=frame.key_id)


def with_another_record(frame: Frame) -> Frame:
    """Digest and signature of a true frame, around an event that is not in it."""
    return frame


FORGERIES = [
    (with_a_key_of_their_own, "FRAME_KEY"),
    (with_our_key_id, "FRAME_SIGNATURE"),
    (with_another_record, "FRAME_DIGEST"),
]


def dropped(world: World, rule: str) -> float:
    """How many frames of the accounts book the ledger has not believed for this reason."""
    found = re.search(
        rf'tanzhang_bad_frames_total{{book="accounts",rule="{rule}"}} (\S+)',
        world.metrics("ledger"),
    )
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize(("forge", "rule"), FORGERIES, ids=[rule for _, rule in FORGERIES])
def test_a_forged_frame_is_dropped_and_counted_and_the_log_goes_on(
    world: World, forge: object, rule: str
) -> None:
    position = world.pay(1)
    world.prove("accounts", position)
    before = dropped(world, rule)
    assert callable(forge)
    world.publish(frames_subject("accounts"), encode_frame(forge(next_frame(world))))
    until(lambda: dropped(world, rule) > before, "the ledger to drop the frame")
    assert not world.status("accounts").HasField("halt")
    assert world.status("accounts").folded == position + 1
    world.prove("accounts", world.pay(1))
    world.check()


def test_what_is_no_frame_at_all_is_dropped_and_counted(world: World) -> None:
    before = dropped(world, "FRAME_SHAPE")
    world.publish(frames_subject("accounts"), b"", b"\xff" * 40, b"not a frame of ours")
    until(lambda: dropped(world, "FRAME_SHAPE") > before, "the ledger to drop them")
    world.prove("accounts", world.pay(1))
    world.check()


def test_true_frames_again_and_in_another_order_change_nothing(world: World) -> None:
    for _ in range(3):
        world.pay(1)
    world.prove("accounts", world.pay(1))
    known = [encode_frame(frame) for frame in world.frames("accounts")[-5:]]
    world.publish(frames_subject("accounts"), *reversed(known), *known)
    world.prove("accounts", world.pay(1))
    world.check()
