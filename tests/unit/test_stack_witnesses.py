"""The witnesses of a data folder: their keys, their number, and what policies say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CliError
from cli.stack import StackFault
from cli.stack.provision import policy_file, provision
from cli.stack.witnesses import (
    NAMES,
    deployment_policy_file,
    policy_with,
    witness_home,
    witness_names,
    write_deployment_policy,
)
from cli.witness.folder import WitnessFolder
from kernel.tlog.policy import parse_policy


def test_a_witness_is_made_with_its_database_and_a_lost_one_is_not_made_again(
    tmp_path: Path,
) -> None:
    provision(tmp_path, witnesses=("bank",))
    folder = WitnessFolder(witness_home(tmp_path, "bank"))
    folder.store().close()
    folder.store_path.unlink()
    provision(tmp_path, witnesses=("bank",))
    with pytest.raises(CliError, match="would cosign from size 0 again"):
        folder.store()


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3)])
def test_more_than_half_of_the_witnesses_make_a_quorum(
    tmp_path: Path, count: int, needed: int
) -> None:
    given = provision(tmp_path, witnesses=NAMES[:count])
    policy = policy_with(given.log_vkeys, given.witnesses)
    assert policy.quorum == "witnesses"
    assert policy.groups["witnesses"].threshold == needed
    assert policy.groups["witnesses"].members == NAMES[:count]


def test_a_folder_keeps_its_witnesses_their_keys_and_the_logs_they_know(tmp_path: Path) -> None:
    first = provision(tmp_path, witnesses=witness_names(tmp_path, 2))
    assert witness_names(tmp_path, 0) == ("bank", "regulator")
    again = provision(tmp_path, witnesses=witness_names(tmp_path, 0))
    assert again.witnesses == first.witnesses
    known = WitnessFolder(witness_home(tmp_path, "bank")).logs()
    assert [key.vkey for key in known] == list(first.log_vkeys)
    with pytest.raises(StackFault, match="expected 0 to 4, got 5"):
        witness_names(tmp_path, 5)


def test_a_readers_policy_gets_the_witnesses_only_while_nobody_has_touched_it(
    tmp_path: Path,
) -> None:
    provision(tmp_path)
    assert parse_policy(policy_file(tmp_path).read_bytes()).quorum == "none"
    provision(tmp_path, witnesses=("bank",))
    read = policy_file(tmp_path).read_bytes()
    assert list(parse_policy(read).witnesses) == ["bank"]
    provision(tmp_path, witnesses=("bank", "regulator"))
    assert policy_file(tmp_path).read_bytes() == read


def test_the_ledgers_policy_says_where_each_witness_is_asked_and_the_readers_does_not(
    tmp_path: Path,
) -> None:
    given = provision(tmp_path, witnesses=("bank",))
    write_deployment_policy(tmp_path, given.log_vkeys, given.witnesses, {"witness-bank": 15_001})
    (fed,) = parse_policy(deployment_policy_file(tmp_path).read_bytes()).witnesses.values()
    (read,) = parse_policy(policy_file(tmp_path).read_bytes()).witnesses.values()
    assert (fed.url, read.url) == ("http://127.0.0.1:15001", None)
    assert fed.key == read.key
