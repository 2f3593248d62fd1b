# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a change is taken back: only when it surely made things worse and nothing else explains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...module_utils.probe.model import TAKEN
from ..shapes import JsonObject

POLICIES = ("regression", "always", "never")

# The proxy itself can be seen from here: somebody accepted, or its system refused.
REACHED = frozenset({"open", "refused"})

# A probe that ends like this says nothing about the proxy: this vantage point does not reach it at all.
BLIND_STATUSES = frozenset({"timeout", "unreachable", "unresolved"})


@dataclass(frozen=True)
class Verdict:
    """What becomes of a change.

    Attributes:
        ok: Every port is as expected and every service that was restarted runs.
        action: ``none``, ``rollback`` or ``keep`` (the file stays and the host fails).
        failed: Ports that are not as expected.
        regressed: Those of them that answered before.
        because: Sentences: why it is taken back, or why it is not.
    """

    ok: bool
    action: str
    failed: tuple[str, ...] = ()
    regressed: tuple[str, ...] = ()
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What was seen.

    Attributes:
        before: Results of ``port_probe`` before anything was written.
        after: Results afterwards.
        wrote: Whether this run wrote a file.
        restarted: Result of ``service_restart``, None when nothing was restarted.
        rolled_back: Whether this run already took a change back.
        unproven: Whether the ports could not be checked afterwards.
    """

    before: Sequence[JsonObject]
    after: Sequence[JsonObject]
    wrote: bool
    restarted: JsonObject | None = None
    rolled_back: bool = False
    unproven: bool = False


def is_blind(results: Sequence[JsonObject]) -> bool:
    """Whether every probe ended without any sign of the proxy."""
    return bool(results) and all(result["status"] in BLIND_STATUSES for result in results)


def _key(result: JsonObject) -> tuple[str, int]:
    return (str(result["host"]), int(result["port"]))


def _name(result: JsonObject) -> str:
    return f"{result['host']}:{result['port']} ({result['protocol']}) {result['status']}"


def _regressed(evidence: Evidence) -> list[JsonObject]:
    answered = {_key(row) for row in evidence.before if row["status"] == "open"}
    return [row for row in evidence.after if not row["ok"] and row["expect"] == "open" and _key(row) in answered]


def _touched(row: JsonObject) -> bool:
    return row.get("stop_ms") is not None or row.get("start_ms") is not None


def _not_anew(restarted: JsonObject | None) -> Iterator[str]:
    """Name the restarted services that do not run as another process than before."""
    for row in (restarted or {}).get("services") or ():
        touched = _touched(row)
        if row.get("error") or (touched and row.get("after") != "running"):
            yield f"{row['name']} is {row.get('after')}"
        elif touched and row.get("process_after") and row.get("process_after") == row.get("process_before"):
            yield f"{row['name']} is still the old process"


def _restart_failed(restarted: JsonObject | None) -> bool:
    return bool((restarted or {}).get("failed"))


def _obstacles(evidence: Evidence, regressed: Sequence[JsonObject]) -> Iterator[str]:
    """Say what else than the change may explain the regression, or forbids to take it back."""
    if not regressed:
        yield "no port that answered before has stopped to answer"
    restarted = evidence.restarted or {}
    if not restarted.get("completed") and not any(_touched(row) for row in restarted.get("services") or ()):
        yield "no service was restarted, so that none has loaded the new file"
    reached = {row["host"] for row in evidence.after if row["status"] in REACHED}
    for host in sorted({row["host"] for row in regressed} - reached):
        yield f"the proxy {host} cannot be reached from here now"
    for row in regressed:
        if row["status"] in TAKEN:
            yield f"somebody else answers on {row['host']}:{row['port']}"
    yield from _not_anew(evidence.restarted)
    if _restart_failed(evidence.restarted):
        yield "the restart did not succeed"


def judge(evidence: Evidence, *, policy: str = "regression") -> Verdict:
    """Decide what becomes of a change.

    Args:
        evidence: What was seen.
        policy: ``regression``: back only if ports that answered before stopped to, while the proxy can be reached,
            nobody else answers there and every restarted service runs anew; ``always``: back whenever something is
            wrong; ``never``. From a vantage point that was blind before nothing is taken back.

    Raises:
        ValueError: Unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy is {policy!r}; choose from {', '.join(POLICIES)}")
    wrong = [row for row in evidence.after if not row["ok"]]
    failed = tuple(_name(row) for row in wrong)
    if not wrong and not _restart_failed(evidence.restarted) and not evidence.unproven:
        return Verdict(ok=True, action="none")
    regressed = _regressed(evidence)
    names = tuple(_name(row) for row in regressed)
    reasons = tuple(_against(evidence, regressed, policy))
    if reasons:
        return Verdict(ok=False, action="keep", failed=failed, regressed=names, because=reasons)
    why = tuple(f"{name}, and answered before" for name in names) or failed or ("the restart did not succeed",)
    return Verdict(ok=False, action="rollback", failed=failed, regressed=names, because=why)


def _against(evidence: Evidence, regressed: Sequence[JsonObject], policy: str) -> Iterable[str]:
    if policy == "never":
        yield "the policy is never to roll back"
    if not evidence.wrote:
        yield "this run wrote no file"
    if evidence.rolled_back:
        yield "this run has already taken a change back once"
    if evidence.unproven:
        yield "the ports could not be checked afterwards"
    if is_blind(evidence.before):
        yield "the probe host saw nothing of the proxy before, so that nothing tells what was better then"
    if policy == "regression":
        yield from _obstacles(evidence, regressed)
