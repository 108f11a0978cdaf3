"""k8s/base as a cluster gets it: the resources of its kustomization, with namespace and labels.

Reads the few fields our kustomization uses and refuses any other, so that nothing it says is passed
over. Where a kustomize is on the machine, a test compares the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.checkout import ROOT

BASE = ROOT / "k8s" / "base"
KNOWN = {"apiVersion", "kind", "namespace", "labels", "resources"}
CLUSTER_WIDE = {"Namespace"}

Object = dict[str, Any]


def render(folder: Path = BASE) -> list[Object]:
    """Every object, in the order of the kustomization. ValueError for what it does not know."""
    head = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := set(head) - KNOWN:
        raise ValueError(f"expected no more than {sorted(KNOWN)}, got {sorted(unknown)}")
    labels: dict[str, str] = {}
    for entry in head["labels"]:
        if set(entry) != {"pairs"}:  # with selectors or templates it would mean more
            raise ValueError(f"labels: expected pairs alone, got {sorted(entry)}")
        labels |= entry["pairs"]
    return [
        _dressed(one, head["namespace"], labels)
        for name in head["resources"]
        for one in read_objects(folder / name)
    ]


def read_objects(path: Path) -> list[Object]:
    """What one file holds, each object a copy of its own."""
    return [_unshared(one) for one in yaml.safe_load_all(path.read_text())]


def _dressed(one: Object, namespace: str, labels: dict[str, str]) -> Object:
    metadata = one["metadata"]
    if one["kind"] not in CLUSTER_WIDE:
        metadata["namespace"] = namespace
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    return one


def _unshared(value: Any) -> Any:
    """YAML's anchors give one object twice: who changes one of them would change both."""
    match value:
        case dict():
            return {key: _unshared(item) for key, item in value.items()}
        case list():
            return [_unshared(item) for item in value]
    return value
