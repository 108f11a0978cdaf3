"""The witnesses that `tanzhang up --witnesses N` runs beside the services, one process each.

Each has a folder of its own, `<dir>/witnesses/<name>`, as it would have on another house's machine:
its key, the logs it knows, what it cosigned. Here all of it belongs to one user, so that they agree
says little; a real deployment names witnesses that others run. A folder that has them keeps them,
because its policy asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cli.stack import StackFault
from cli.witness.folder import WitnessFolder
from kernel.errors import TanzhangError
from kernel.tlog.note import COSIGNATURE
from kernel.tlog.policy import NONE, Policy

NAMES: Final = ("bank", "regulator", "exchange", "auditor")
GROUP: Final = "witnesses"


def witness_home(directory: Path, name: str) -> Path:
    return directory / "witnesses" / name


def process_name(name: str) -> str:
    """What the supervisor calls it."""
    return f"witness-{name}"


def deployment_policy_file(directory: Path) -> Path:
    """The ledger's: whom it feeds, where, and how many must have cosigned what it shows."""
    return directory / "witnesses" / "policy.txt"


def witness_names(directory: Path, count: int) -> tuple[str, ...]:
    """Those the folder has, and so many at least. StackFault for more than there are names."""
    if not 0 <= count <= len(NAMES):
        raise StackFault(f"witnesses: expected 0 to {len(NAMES)}, got {count}")
    return tuple(
        name
        for number, name in enumerate(NAMES)
        if number < count or witness_home(directory, name).is_dir()
    )


def provision_witnesses(
    directory: Path, prefix: str, names: Iterable[str], log_vkeys: Sequence[str]
) -> dict[str, str]:
    """Make each witness's key where it is missing, and tell it our logs; verifier keys by name."""
    logs = Policy()
    for vkey in log_vkeys:
        logs.add_log(vkey)
    logs.set_quorum(NONE)
    made = {}
    for name in names:
        folder = WitnessFolder(witness_home(directory, name))
        try:
            (signer, *_) = folder.make_keys(f"{prefix}/witness/{name}", [COSIGNATURE])
        except TanzhangError as error:
            raise StackFault(str(error)) from error
        if not folder.policy_path.exists() or folder.policy_path.read_bytes() != logs.encode():
            folder.policy_path.write_bytes(logs.encode())
        made[name] = signer.verifier.vkey
    return made


def policy_with(
    log_vkeys: Sequence[str], witnesses: Mapping[str, str], urls: Mapping[str, str] | None = None
) -> Policy:
    """Our logs, and more than half of the witnesses; without witnesses no quorum."""
    policy = Policy()
    for vkey in log_vkeys:
        policy.add_log(vkey)
    for name, vkey in witnesses.items():
        policy.add_witness(name, vkey, (urls or {}).get(name))
    if witnesses:
        policy.add_group(GROUP, str(len(witnesses) // 2 + 1), witnesses)
    policy.set_quorum(GROUP if witnesses else NONE)
    return policy


def write_deployment_policy(
    directory: Path,
    log_vkeys: Sequence[str],
    witnesses: Mapping[str, str],
    ports: Mapping[str, int],
) -> None:
    """Anew at every start: the ports may be others."""
    urls = {name: f"http://127.0.0.1:{ports[process_name(name)]}" for name in witnesses}
    policy = policy_with(log_vkeys, witnesses, urls)
    deployment_policy_file(directory).write_bytes(policy.encode())


def arguments_of(directory: Path, name: str, port: int, clock_file: Path) -> list[str]:
    """Of `tanzhang`, for one witness."""
    home = str(witness_home(directory, name))
    listen = f"127.0.0.1:{port}"
    return [
        *("witness", "serve", "--dir", home),
        *("--listen", listen, "--clock-file", str(clock_file)),
    ]
