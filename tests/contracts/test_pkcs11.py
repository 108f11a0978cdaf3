"""Note keys in a real PKCS #11 token: SoftHSM, which does in software what an HSM does.

Without it the tests are skipped and say so; TANZHANG_REQUIRE_SOFTHSM=1 makes its absence a failure.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.app import run
from kernel import hsm
from kernel.errors import Misconfigured
from kernel.keys import check_opens, load_note_key, make_token_key, protect, public_of
from kernel.tlog.checkpoint import Checkpoint, open_checkpoint
from kernel.tlog.keychange import open_key_change
from kernel.tlog.note import COSIGNATURE, Signer, parse_note
from services.ledger.domain.state import LogKeys
from services.ledger.logkeys import BookKeys, KeyFolder
from tests.support.database import Database
from tests.support.ledgers import StoredLog, log_signer, long_history, origin_of

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
BOOK = "accounts"
ORIGIN = origin_of(BOOK)
PIN = "7654321"
HISTORY = long_history(BOOK, 300)


def softhsm() -> Path:
    """Its library; the test is skipped, saying why, where it is not installed."""
    found = [Path(one) for one in MODULES if Path(one).exists()]
    if found and shutil.which("softhsm2-util"):
        return found[0]
    reason = "SoftHSM is not installed: apt-get install softhsm2"
    if os.environ.get("TANZHANG_REQUIRE_SOFTHSM") == "1":
        pytest.fail(f"{reason} (TANZHANG_REQUIRE_SOFTHSM=1 forbids skipping)")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Two tokens on their own, and the environment that leads to them.

    One for all tests: a process loads the vendor's library once, with the settings of that moment.
    """
    module, folder = softhsm(), tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    pin = folder / "pin"
    pin.write_text(PIN + "\n")
    pin.chmod(0o600)
    env = {
        "SOFTHSM2_CONF": str(conf),
        "TANZHANG_PKCS11_MODULE": str(module),
        "TANZHANG_PKCS11_PIN_FILE": str(pin),
    }
    for label in ("lanzhou", "elsewhere"):
        command = ["softhsm2-util", "--init-token", "--free", "--label", label]
        command += ["--so-pin", "12345678", "--pin", PIN]
        subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True)
    yield env
    hsm._session.cache_clear()


@pytest.fixture(autouse=True)
def token(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


def uri(label: str, token: str = "lanzhou") -> str:
    return f"pkcs11:token={token};object={label};type=private"


def test_a_log_key_in_a_token_signs_what_every_verifier_accepts(
    tmp_path: Path, database: Database
) -> None:
    """Through the sealer, as the ledger does it: the key is nowhere but in the token."""
    path = tmp_path / "accounts.skey"
    vkey = make_token_key(path, uri("a log"), ORIGIN)
    signer = load_note_key(path)
    assert signer.verifier.vkey == vkey == public_of(path)
    log = StoredLog(database.engine("ledger"), tmp_path)
    log.keys.now = KeyFolder(tmp_path, ORIGIN.rpartition("/")[0]).in_force(BOOK, None)

    async def seal() -> Checkpoint:
        log.sealer.open(0)
        await log.fold(HISTORY)
        return await log.seal()

    checkpoint = asyncio.run(seal())
    assert checkpoint.size == 300
    note = log.file.read() or b""
    assert open_checkpoint(note, signer.verifier).checkpoint == checkpoint
    with pytest.raises(Misconfigured, match="never leaves it"):
        signer.private()


def test_a_log_moves_from_a_file_into_a_token_by_a_rotation_like_any_other(tmp_path: Path) -> None:
    first = log_signer(BOOK)
    (tmp_path / "accounts.skey").write_text(first.private() + "\n")
    (tmp_path / "accounts.skey").chmod(0o600)
    new = make_token_key(tmp_path / "accounts.hsm.skey", uri("the next"), ORIGIN)
    folder = KeyFolder(tmp_path, ORIGIN.rpartition("/")[0])
    old = folder.followed(BOOK, None, new)
    opened = open_key_change(base64.b64decode(folder.announce(BOOK, old, new, 1)))
    assert (opened.change.new.vkey, opened.announced) == (new, True)
    keys = BookKeys(ORIGIN, folder.in_force(BOOK, LogKeys(old, new)))
    assert [one.verifier.vkey for one in keys.now.signers] == [first.verifier.vkey, new]


def test_a_witness_key_cosigns_out_of_a_token(tmp_path: Path) -> None:
    path = tmp_path / "w1.skey"
    make_token_key(path, uri("w1"), "witness.lzbank.example", COSIGNATURE)
    signer = load_note_key(path)
    note = f"x\n\n{signer.line('x' + chr(10), 1_767_225_600)}".encode()
    (signature,) = parse_note(note)[1]
    assert signer.verifier.verify("x\n", signature.blob) == 1_767_225_600


def test_many_logs_sign_at_once_with_one_login(tmp_path: Path) -> None:
    signers: list[Signer] = []
    for i in range(3):
        path = tmp_path / f"{i}.skey"
        make_token_key(path, uri(f"log {i}"), f"{ORIGIN}{i}")
        signers.append(load_note_key(path))
    with ThreadPoolExecutor(8) as pool:
        jobs = [(one, f"{n}\n") for n in range(50) for one in signers]
        signed = list(pool.map(lambda job: (job, job[0].sign(job[1])), jobs))
    for (signer, text), blob in signed:
        assert signer.verifier.verify(text, blob) is None


def test_a_file_that_names_another_key_than_the_token_holds_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "accounts.skey", tmp_path / "other.skey"
    make_token_key(path, uri("mine"), ORIGIN)
    make_token_key(other, uri("another"), ORIGIN)
    path.write_text(f"{uri('mine')}\n{public_of(other)}\n")
    with pytest.raises(Misconfigured, match="the token has another"):
        load_note_key(path)


def test_a_key_is_made_once_under_a_label_and_never_over_a_file(tmp_path: Path) -> None:
    make_token_key(tmp_path / "one.skey", uri("once"), ORIGIN)
    with pytest.raises(Misconfigured, match="expected no object once, found one"):
        make_token_key(tmp_path / "two.skey", uri("once"), ORIGIN)
    with pytest.raises(Misconfigured, match="a key is never overwritten"):
        make_token_key(tmp_path / "one.skey", uri("twice"), ORIGIN)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("pkcs11:token=lanzhou;object=nothing", "NoSuchKey"),
        ("pkcs11:token=nowhere;object=a", "NoSuchToken"),
        ("pkcs11:token=lanzhou", "expected a token or serial, and an object or id"),
        ("pkcs11:object=a", "expected a token or serial, and an object or id"),
        ("pkcs11:token=lanzhou;object=a?pin-value=7654321", "without a query"),
        ("pkcs11:token=lanzhou;object=a?module-path=/tmp/evil.so", "without a query"),
        ("pkcs11:token=lanzhou;object=a;object=b", "each once"),
        ("pkcs11:token=lanzhou;object=a;slot-id=1", "each once"),
    ],
)
def test_what_leads_to_no_key_is_named(tmp_path: Path, where: str, told: str) -> None:
    """And a file cannot say which library is loaded, nor which PIN is tried."""
    path = tmp_path / "accounts.skey"
    path.write_text(f"{where}\n{log_signer(BOOK).verifier.vkey}\n")
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match=told):
        load_note_key(path)


def test_without_module_or_pin_it_is_said_which_variable_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "accounts.skey"
    path.write_text(f"{uri('a', 'elsewhere')}\n{log_signer(BOOK).verifier.vkey}\n")
    path.chmod(0o600)
    monkeypatch.delenv("TANZHANG_PKCS11_MODULE")
    with pytest.raises(Misconfigured, match="TANZHANG_PKCS11_MODULE is not set"):
        load_note_key(path)
    monkeypatch.delenv("TANZHANG_PKCS11_PIN_FILE")
    with pytest.raises(Misconfigured, match="TANZHANG_PKCS11_PIN_FILE is not set"):
        load_note_key(path)


def test_a_wrong_pin_is_refused_and_not_shown(tmp_path: Path, token: dict[str, str]) -> None:
    path, pin = tmp_path / "accounts.skey", tmp_path / "pin"
    path.write_text(f"{uri('a', 'elsewhere')}\n{log_signer(BOOK).verifier.vkey}\n")
    pin.write_text("1111111\n")
    for file in (path, pin):
        file.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANZHANG_PKCS11_PIN_FILE", str(pin))
        with pytest.raises(Misconfigured, match="PinIncorrect") as told:
            load_note_key(path)
    assert "1111111" not in str(told.value)


def test_the_tool_makes_a_key_in_a_token_lists_it_and_has_nothing_to_encrypt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "accounts.skey"
    made = ["keys", "make", "log", str(path), "--name", ORIGIN, "--pkcs11", uri("by the tool")]
    assert run(made) == 0
    vkey = capsys.readouterr().out.strip()
    assert run(["keys", "list", "--dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert vkey in shown
    assert "in a token" in shown
    before = path.read_bytes()
    assert not protect(path, b"three camels carry lilies")
    check_opens(path, b"three camels carry lilies")
    assert path.read_bytes() == before
    assert load_note_key(path).verifier.vkey == vkey
