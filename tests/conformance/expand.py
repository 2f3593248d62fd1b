# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A case in full: what it says, laid over what ``defaults.yml`` says for every case."""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Mapping
from pathlib import Path

import yaml

DEFAULTS: t.Final[Mapping[str, t.Any]] = yaml.safe_load(
    (Path(__file__).parent / "defaults.yml").read_text(encoding="ascii")
)
ABSENT: t.Final = "ABSENT"
NO_DEFAULT: t.Final = "NO_DEFAULT"

Json: t.TypeAlias = dict[str, t.Any]
Services: t.TypeAlias = t.Sequence[Mapping[str, t.Any]]


class CaseError(ValueError):
    """A case that says something the format does not know."""


def over(default: t.Any, value: t.Any) -> t.Any:
    """Return a value laid over its default: mappings key by key, anything else in its place; ABSENT removes a key."""
    if not (isinstance(default, Mapping) and isinstance(value, Mapping)):
        return value
    merged = {**copy.deepcopy(default), **{key: over(default.get(key), item) for key, item in value.items()}}
    return {key: item for key, item in merged.items() if item != ABSENT}


def _known(what: str, default: Mapping[str, t.Any], value: t.Any) -> t.Any:
    """Like :func:`over`, for what has no other keys than its default has."""
    if not isinstance(value, Mapping):
        return value
    unknown = sorted(set(value) - set(default))
    if unknown:
        raise CaseError(f"{what}: unknown {', '.join(unknown)}; known are {', '.join(default)}")
    full = over(default, value)
    missing = [key for key, item in full.items() if item == NO_DEFAULT]
    if missing:
        raise CaseError(f"{what}: {', '.join(missing)} has no default")
    return full


def _with_dependencies(item: t.Any, services: Services) -> t.Any:
    """An item that names a service: left out, ``depends_on`` is what the server's service has."""
    if not isinstance(item, Mapping):
        return item
    known = {service["name"]: service["depends_on"] for service in services if "depends_on" in service}
    return {"depends_on": known.get(item.get("name"), []), **item}


def _merged_services(base: list[Json], services: list[Json]) -> list[Json]:
    """A base's services, each with what the case says of it, then the case's own."""
    said = {item["name"]: item for item in services}
    if len(said) != len(services):
        raise CaseError("services: one of them stands there twice")
    merged = [over(item, said.pop(item["name"], {})) for item in base]
    return [over(DEFAULTS["service"], item) for item in [*merged, *said.values()]]


def given(said: Mapping[str, t.Any]) -> Json:
    """Return the state of a server before the first step in full: ``base``, and what is said over it.

    Args:
        said: as the case has it.

    Raises:
        CaseError: a base that does not exist, a journal with a key that journals do not have.
    """
    servers = DEFAULTS["servers"]
    name = said.get("base")
    if name is not None and name not in servers:
        raise CaseError(f"given.base: {name} is unknown; known are {', '.join(servers)}")
    return _state({key: value for key, value in said.items() if key != "base"}, servers.get(name, {}))


def _state(said: Mapping[str, t.Any], base: Mapping[str, t.Any]) -> Json:
    full: Json = over(base, said)
    if "services" in full:
        full["services"] = _merged_services(base.get("services", []), said.get("services", []))
    if "lock" in full:
        full["lock"] = over(DEFAULTS["lock"], full["lock"])
    if isinstance(full.get("journal"), Mapping):
        full["journal"] = _journal(full["journal"], full.get("services", ()))
    return full


def _journal(said: Mapping[str, t.Any], services: Services) -> Json:
    full: Json = _known("journal", DEFAULTS["journal"], said)
    if isinstance(full["previous"], Mapping):
        full["previous"] = _with_items(full["previous"], services)
    return _with_items(full, services)


def _with_items(run: Mapping[str, t.Any], services: Services) -> Json:
    """A run of a journal, with its services in full."""
    items = [_with_dependencies(item, services) for item in run["services"]]
    return {**run, "services": [_known("journal.services", DEFAULTS["journal_service"], item) for item in items]}


def request(said: Mapping[str, t.Any], services: Services = ()) -> Json:
    """Return a request in full; one for an operation that does not exist gets only what all have in common.

    Args:
        said: as the case has it.
        services: the server's services, whose dependencies an item of ``restart`` has when it says nothing else.

    Raises:
        CaseError: a key that the operation does not have, or one without a default that is not said.
    """
    op = said.get("op", NO_DEFAULT)
    if op == NO_DEFAULT:
        raise CaseError("request: op has no default")
    if op not in DEFAULTS["operations"]:
        return t.cast(Json, over(DEFAULTS["common"], said))
    full: Json = _known(str(op), {**DEFAULTS["common"], **DEFAULTS["operations"][op]}, said)
    for key, default in DEFAULTS["items"].get(op, {}).items():
        if isinstance(full.get(key), list):
            items = [_with_dependencies(item, services) if "depends_on" in default else item for item in full[key]]
            full[key] = [_known(f"{op}.{key}", default, item) for item in items]
    return full


def _answer(said: t.Any) -> t.Any:
    if isinstance(said, Mapping) and isinstance(said.get("error"), Mapping):
        return {**said, "error": over(DEFAULTS["error"], said["error"])}
    return said


def _step(said: t.Any, services: Services) -> t.Any:
    if not isinstance(said, Mapping):
        return said
    full = {key: _answer(value) if key.startswith("answer") else value for key, value in said.items()}
    before = full.get("before")
    if before is not None:
        full["before"] = [_state(change, {}) for change in before] if isinstance(before, list) else _state(before, {})
    if "request" in full:
        full["request"] = request(full["request"], services)
    return full


def case(said: Mapping[str, t.Any]) -> Json:
    """Return a whole case in full.

    Args:
        said: as it stands in its file.

    Raises:
        CaseError: it leaves out, or says, what the format does not allow.
    """
    full = dict(said)
    if "given" in full:
        full["given"] = given(full["given"] or {})
    services = full.get("given", {}).get("services", ())
    if full.get("steps"):
        full["steps"] = [_step(step, services) for step in full["steps"]]
    return full
