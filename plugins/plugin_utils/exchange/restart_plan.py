# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restart takes down, in which order, and when it is refused: a pure function of the service graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..problems.advice import START_ORDER_HINT
from ..problems.problem import Problem
from ..shapes import Json
from .inspection import ServiceState
from .installation import CLUSTER, KMS

# Start order that Microsoft gives (Q168739, agrees with Q143380); breaks ties between services that do not depend on
# each other. Other services follow by name.
START_ORDER = (
    "msexchangesa",
    "msexchangeds",
    "msexchangeis",
    "msexchangemta",
    "msexchangemsmi",
    "msexchangepcmta",
    "msexchangedx",
    "msexchangeimc",
    "msexchangefb",
)
# Watched by a Server Monitor unless somebody changed it (Q245838).
MONITORED = frozenset({"msexchangeds", "msexchangeis", "msexchangemta"})


@dataclass(frozen=True)
class Loads:
    """What a service reads when it starts.

    Attributes:
        file: Path of its Wspcfg.ini.
        file_sha256: sha256 of that file as it will be, None when there will be none.
        loaded: Hash of its section in that file.
    """

    file: str
    file_sha256: str | None
    loaded: str


@dataclass(frozen=True)
class Entry:
    """One service of a restart, as the target script wants it (docs/target_protocol.md, section 4)."""

    name: str
    role: str
    depends_on: tuple[str, ...] = ()
    loads: Loads | None = None

    def as_request(self) -> Json:
        loads = self.loads
        return {
            "name": self.name,
            "role": self.role,
            "depends_on": list(self.depends_on),
            "file": None if loads is None else loads.file,
            "file_sha256": None if loads is None else loads.file_sha256,
            "loaded": None if loads is None else loads.loaded,
        }


@dataclass(frozen=True)
class RestartPlan:
    """A restart that nobody has begun.

    Attributes:
        entries: Every service concerned, in start order; stop order is the reverse.
        roots: Services that are to restart for their own sake and are running.
        takes_down: Running services that depend on a root and are no roots themselves, in stop order.
        stopped: Requested services that are not running; started only on request.
        refusals: Reasons against it, each with the option that accepts the risk.
        refusals_if_started: The same for a restart that starts ``stopped``, too.
        warnings: What the administrator should know before.
    """

    entries: tuple[Entry, ...] = ()
    roots: tuple[str, ...] = ()
    takes_down: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    refusals: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    refusals_if_started: tuple[Problem, ...] = ()

    def as_result(self) -> Json:
        """Return it as ``wspcfg`` hands it to ``service_restart``."""
        return {
            "services": [entry.as_request() for entry in self.entries],
            "roots": list(self.roots),
            "takes_down": list(self.takes_down),
            "stopped": list(self.stopped),
            "refusals": [problem.as_result() for problem in self.refusals],
            "refusals_if_started": [problem.as_result() for problem in self.refusals_if_started],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Graph:
    """Services and who depends on whom, from DependOnService and DependOnGroup.

    Attributes:
        services: By lower-case name, in the order of the inspection.
        needs: Direct dependencies by lower-case name; only services that are known.
    """

    services: Mapping[str, ServiceState]
    needs: Mapping[str, frozenset[str]]

    def dependents(self, names: Iterable[str]) -> frozenset[str]:
        """Return everything that depends on one of the names, directly or not, without the names themselves."""
        start = {name.lower() for name in names}
        found: set[str] = set()
        grew = True
        while grew:
            reached = start | found
            more = {name for name, needs in self.needs.items() if needs & reached} - reached
            found |= more
            grew = bool(more)
        return frozenset(found)

    def in_start_order(self, names: Collection[str]) -> list[str]:
        """Return the names, dependencies first; through services that are not among them as well."""
        behind = {name: self.dependents([name]) for name in names}
        waiting = sorted(names, key=_rank)
        ordered: list[str] = []
        while waiting:
            ready = [name for name in waiting if not any(name in behind[other] for other in waiting if other != name)]
            # The registry may hold a circle although no service manager starts one; the rank then decides.
            ordered.append((ready or waiting)[0])
            waiting.remove(ordered[-1])
        return ordered


def _rank(name: str) -> tuple[int, str]:
    return (START_ORDER.index(name) if name in START_ORDER else len(START_ORDER), name)


def make_graph(services: Sequence[ServiceState]) -> Graph:
    """Build the graph of the services that exist."""
    known = {service.name.lower(): service for service in services if service.exists}
    groups: dict[str, set[str]] = {}
    for name, service in known.items():
        if service.group:
            groups.setdefault(service.group.lower(), set()).add(name)
    needs: dict[str, frozenset[str]] = {}
    for name, service in known.items():
        direct = {other.lower() for other in service.depends_on} & known.keys()
        members = [groups.get(group.lower(), set()) for group in service.depends_on_groups]
        needs[name] = frozenset(direct.union(*members) - {name})
    return Graph(known, needs)


def is_active(service: ServiceState) -> bool:
    """Tell whether stopping its dependencies concerns it: running, paused or between two states."""
    return service.exists and service.state not in (None, "stopped", "unknown")


@dataclass(frozen=True)
class Wish:
    """What somebody wants restarted.

    Attributes:
        names: Services to restart.
        loads: What they read at their start, by lower-case name.
        start: Also start those of ``names`` that are stopped.
        start_dependencies: A stopped dependency is no obstacle.
    """

    names: tuple[str, ...]
    loads: Mapping[str, Loads] = field(default_factory=dict)
    start: bool = False
    start_dependencies: bool = False


def plan_restart(services: Sequence[ServiceState], wish: Wish) -> RestartPlan:
    """Plan one restart of everything that is wanted and running.

    A root covers a service only if it runs and depends on the root; what is stopped stays stopped.

    Args:
        services: Inspection of the wanted services with all that depends on them and all that they depend on.
        wish: What to restart.
    """
    graph = make_graph(services)
    wanted = [name.lower() for name in wish.names if name.lower() in graph.services]
    roots = {name for name in wanted if is_active(graph.services[name])}
    stopped = {name for name in wanted if name not in roots and not graph.services[name].is_driver}
    taken = {name for name in graph.dependents(roots) if is_active(graph.services[name])} - roots
    order = graph.in_start_order(roots | taken | stopped)
    entries = tuple(_entry(graph, name, name in taken, wish) for name in order)
    moved = roots | taken | (stopped if wish.start else set())
    return RestartPlan(
        entries=entries,
        roots=_names(graph, [name for name in order if name in roots]),
        takes_down=_names(graph, [name for name in reversed(order) if name in taken]),
        stopped=_names(graph, [name for name in order if name in stopped]),
        refusals=tuple(_refusals(graph, wish, moved)),
        warnings=tuple(_warnings(graph, roots | taken)),
        refusals_if_started=tuple(_refusals(graph, wish, moved | stopped)),
    )


def _names(graph: Graph, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(graph.services[name].name for name in names)


def _entry(graph: Graph, name: str, dependent: bool, wish: Wish) -> Entry:
    needs = sorted(other for other in graph.needs[name] if _is_plain_dependency(graph, name, other))
    return Entry(
        name=graph.services[name].name,
        role="dependent" if dependent else "root",
        depends_on=_names(graph, needs),
        loads=wish.loads.get(name),
    )


def _is_plain_dependency(graph: Graph, name: str, other: str) -> bool:
    """A driver has no state that we could wait for, and of a group one running member is enough."""
    if graph.services[other].is_driver:
        return False
    return other in {item.lower() for item in graph.services[name].depends_on}


def _refusals(graph: Graph, wish: Wish, moved: Collection[str]) -> Iterable[Problem]:
    yield from _unfit(graph, wish)
    if KMS.lower() in moved:
        cause = f"{KMS} runs and would be restarted; it asks for its password at every start (Q151689, Q196129)"
        remedy = "Stop it first, or put the password in place and set allow_kms."
        yield Problem("kms_running", cause, remedy, "allow_kms", service=KMS)
    if moved and CLUSTER.lower() in graph.services and not graph.services[CLUSTER.lower()].disabled:
        cause = "this server is a cluster node; Cluster Administrator has to stop and start its services (Q173809)"
        yield Problem("cluster_node", cause, "Restart it there, or set allow_cluster.", "allow_cluster")
    for name in graph.in_start_order(moved):
        service = graph.services[name]
        if service.disabled:
            cause = f"{service.name} is disabled; once stopped it would not start again"
            remedy = "Enable it, or set allow_disabled if it is meant to stay down."
            yield Problem("service_disabled", cause, remedy, "allow_disabled", service=service.name)
        if not wish.start_dependencies:
            yield from _down(graph, name, moved)


def _unfit(graph: Graph, wish: Wish) -> Iterable[Problem]:
    """Names that nothing can restart: what does not exist, and drivers, which the service manager shows as services."""
    for name in wish.names:
        service = graph.services.get(name.lower())
        if service is None:
            remedy = "Check the spelling: the service's name, not its display name."
            yield Problem("service_missing", "there is no such service", remedy, "names", name, service=name)
        elif service.is_driver:
            remedy = "Name the services that use it; a driver is loaded again when the computer restarts."
            cause = f"{service.name} is a driver: it has no process that could be restarted"
            yield Problem("driver", cause, remedy, "names", name, service=service.name)


def _down(graph: Graph, name: str, moved: Collection[str]) -> Iterable[Problem]:
    for other in sorted(graph.needs[name]):
        if other in moved or not _is_plain_dependency(graph, name, other):
            continue
        if graph.services[other].state == "stopped":
            service, dependency = graph.services[name].name, graph.services[other].name
            cause = f"{service} depends on {dependency}, which is stopped: it could not be started again"
            remedy = f"Start {dependency} first, {START_ORDER_HINT}, or set start_dependencies."
            yield Problem("dependency_down", cause, remedy, "start_dependencies", service=service)


def _warnings(graph: Graph, moved: Collection[str]) -> Iterable[str]:
    yield from monitor_warnings(graph.services[name].name for name in moved)


def monitor_warnings(names: Iterable[str]) -> Iterable[str]:
    """Say what a Server Monitor may do while some of these services are down; nothing where it watches none of them.

    Args:
        names: Names of services that go down, as they are written.
    """
    by_name = {name.lower(): name for name in names}
    monitored = [by_name[name] for name in sorted(by_name, key=_rank) if name in MONITORED]
    if monitored:
        yield (
            f"A Server Monitor that watches {', '.join(monitored)} may restart the whole computer while it is down; "
            "pause it before (Q245838, Q156063)."
        )
