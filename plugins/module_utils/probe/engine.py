# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port probe: many targets, each with a result of its own, in the order in which they were given.

``probe(targets, options)`` needs no Ansible. Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import heapq
import os
import typing as t

from .dialogues import dialogue_for
from .greetings import EXCHANGE
from .model import (
    FAREWELL_SECONDS,
    LASTING,
    SATISFYING,
    Dialogue,
    Ending,
    Findings,
    Hear,
    Heard,
    Options,
    Say,
    Status,
    Target,
    said_of,
)
from .network import Connected, Ended, Event, Failed, Network, NoRoom, Received, Resolved, SelectorNetwork
from .tls import TlsApproach

_REFUSED = frozenset({errno.ECONNREFUSED})
_TIMED_OUT = frozenset({errno.ETIMEDOUT})
_RESET = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})
_UNREACHED = (Status.RESET, Status.REFUSED, Status.TIMEOUT, Status.UNREACHABLE)
"""What a connection request ends with, the most telling first."""

NOT_UNDERSTOOD = "the probe could not understand what it heard"
_LOCAL = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL})


Watch = t.Callable[[int, t.Mapping[str, t.Any]], None]
"""Takes the index of a target and the result of its newest attempt."""


def _unwatched(_index: int, _result: t.Mapping[str, t.Any]) -> None:
    """Take what an attempt came to and drop it."""


def probe(
    targets: t.Sequence[Target],
    options: Options | None = None,
    *,
    network: Network | None = None,
    watch: Watch = _unwatched,
) -> list[dict[str, t.Any]]:
    """Check every target until it is as expected, or until the deadline.

    Args:
        targets: What to check.
        options: Limits; the defaults of `Options` when None.
        network: Replayed by tests; the real network when None.
        watch: Told of every attempt when it has ended, for somebody who waits.

    Returns:
        One result per target, in the targets' order and all with the same keys; see `result_of`. Nothing that a
        peer does raises an error.
    """
    limits = options or Options()
    if network is not None:
        return _Run(targets, limits, network, watch).results()
    with SelectorNetwork() as real:
        return _Run(targets, limits, real, watch).results()


class Approach(t.Protocol):
    """How one target is spoken to, over one or more connections."""

    def share(self) -> float:
        """Return which part of the time left the next connection may take; 1.0 for the last one of an attempt."""

    def dialogue(self) -> Dialogue:
        """Return the conversation for a connection that was just accepted."""

    def conclude(self, findings: Findings) -> Findings | None:
        """Return the verdict after a conversation, or None when another connection is to tell more."""

    def is_bound(self) -> bool:
        """Whether the next connection has to go to the same address, because both are judged together."""

    def may_be_starting(self) -> bool:
        """Whether the last conversation ended as one with a server does that is still starting."""

    def is_spent(self) -> bool:
        """Whether another attempt at a listener that is expected open would only repeat what was said."""


class _ClearApproach:
    """One connection for one attempt."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def share(self) -> float:
        return 1.0

    def dialogue(self) -> Dialogue:
        return dialogue_for(self._target)

    def conclude(self, findings: Findings) -> Findings | None:
        return findings

    def is_bound(self) -> bool:
        return False

    def may_be_starting(self) -> bool:
        return False

    def is_spent(self) -> bool:
        return False


class _Job:
    """One target on its way."""

    def __init__(self, index: int, target: Target) -> None:
        self.index = index
        self.target = target
        self.approach: Approach = TlsApproach(target) if target.tls or target.starttls else _ClearApproach(target)
        self.addresses: tuple[str, ...] = ()
        self.address: str | None = None
        self.attempts = 0
        self.turn = 0  # which address is tried
        self.unreached: list[tuple[str, Findings]] = []  # addresses that this attempt did not get a connection to
        self.started: float | None = None
        self.attempt_ends = 0.0
        self.result: dict[str, t.Any] | None = None  # of the attempt before


class _Talk:
    """One connection."""

    def __init__(self, job: _Job, handle: int, begun: float, expires: float) -> None:
        self.job = job
        self.handle = handle
        self.dialogue: Dialogue | None = None
        self.begun = begun
        self.ends = expires
        self.expires = expires
        self.settled: float | None = None


class _Run:
    """One call of `probe`: which target is connected to when, and what is heard by whom."""

    def __init__(self, targets: t.Sequence[Target], options: Options, network: Network, watch: Watch) -> None:
        self._options = options
        self._watch = watch
        self._network = network
        self._begun = network.now()
        self._most_room = self._room = max(1, min(options.concurrency, network.room()))
        self._results: list[dict[str, t.Any]] = [{} for dummy in targets]
        self._unsettled = len(targets)
        self._ready = collections.deque(_Job(index, target) for index, target in enumerate(targets))
        self._later: list[tuple[float, int, _Job]] = []
        self._alarms: list[tuple[float, int, _Talk | str]] = []
        self._serial = 0
        self._talks: dict[int, _Talk] = {}
        self._names: dict[str, Resolved] = {}
        self._waiting_for_name: dict[str, list[_Job]] = {}
        self._name_server_spoke = self._begun

    def results(self) -> list[dict[str, t.Any]]:
        while self._unsettled:
            self._start_what_may()
            for event in self._network.wait(self._next_alarm()):
                self._handle(event)
            self._expire()
        return self._results

    # --- attempts -----------------------------------------------------------------------------------------------

    def _start_what_may(self) -> None:
        now = self._network.now()
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        while self._ready and len(self._talks) < self._room:
            self._start(self._ready.popleft())

    def _start(self, job: _Job) -> None:
        now = self._network.now()
        if job.result is not None and now > self._begun + self._options.deadline:
            self._record(job, job.result)  # it had to wait for others until it was too late
            return
        job.result = None
        if job.started is None:
            job.started = now
        job.attempt_ends = now + self._options.timeout
        job.unreached = []
        host = job.target.host
        if host in self._names:
            self._dial_resolved(job, self._names[host])
            return
        if host not in self._waiting_for_name:
            self._waiting_for_name[host] = []
            self._network.lookup(host)
            self._set_alarm(job.attempt_ends, host)
        self._waiting_for_name[host].append(job)

    def _dial_resolved(self, job: _Job, resolved: Resolved) -> None:
        if resolved.error:
            self._settle(job, Findings(Status.UNRESOLVED, resolved.error), final=not resolved.transient)
            return
        job.addresses = resolved.addresses
        self._dial(job)

    def _dial(self, job: _Job) -> None:
        job.address = job.addresses[job.turn % len(job.addresses)]
        try:
            handle = self._network.connect(job.address, job.target.port, self._options.source_address)
        except NoRoom as error:
            self._defer(job, error)
            return
        except OSError as error:
            self._not_reached(job, Findings(Status.UNREACHABLE, error.strerror or str(error)))
            return
        job.attempts += 1
        now = self._network.now()
        expires = min(job.attempt_ends, now + self._options.connect_timeout)
        talk = self._talks[handle] = _Talk(job, handle, now, expires)
        self._set_alarm(expires, talk)

    def _not_reached(self, job: _Job, findings: Findings) -> None:
        """Turn to the next address of a name, as any client does; after the last one, tell what all have said."""
        job.unreached.append((t.cast(str, job.address), findings))
        in_time = self._network.now() < job.attempt_ends
        if len(job.unreached) < len(job.addresses) and in_time and not job.approach.is_bound():
            job.turn += 1
            self._dial(job)
            return
        job.address, findings = _most_telling(job.unreached)
        verdict = job.approach.conclude(findings)
        self._settle(job, findings if verdict is None else verdict)

    def _defer(self, job: _Job, error: NoRoom) -> None:
        """Let a target wait for a descriptor that another of our connections returns."""
        if not self._talks:
            detail = f"the probe host has no file descriptor left ({error.strerror}): raise its limit (ulimit -n)"
            self._settle(job, Findings(Status.UNREACHABLE, detail))
            return
        # Grows again with every connection that ends: the shortage may have been a moment's.
        self._room = len(self._talks)
        self._ready.appendleft(job)

    # --- events -------------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        if isinstance(event, Resolved):
            self._resolved(event)
            return
        talk = self._talks.get(event.handle)
        if talk is None:
            return  # closed while the event was on its way
        if isinstance(event, Received):
            self._advance(talk, event.data)
        elif isinstance(event, Connected):
            self._connected(talk)
        elif isinstance(event, Ended):
            self._advance(talk, event.ending)
        else:
            self._drop(talk)
            self._not_reached(talk.job, self._not_connected(event))

    def _resolved(self, resolved: Resolved) -> None:
        if not resolved.transient:
            self._name_server_spoke = self._network.now()
        if not resolved.error:
            self._names[resolved.host] = resolved
        jobs = self._waiting_for_name.pop(resolved.host, [])
        if resolved.error:
            for job in jobs:
                self._dial_resolved(job, resolved)
            return
        for job in jobs:
            job.started = None if job.attempts == 0 else job.started
        self._ready.extendleft(reversed(jobs))

    def _connected(self, talk: _Talk) -> None:
        approach = talk.job.approach
        now = self._network.now()
        talk.ends = now + max(0.0, talk.job.attempt_ends - now) * approach.share()
        talk.dialogue = approach.dialogue()
        self._advance(talk, None)

    def _advance(self, talk: _Talk, heard: Heard | None) -> None:
        """Tell the conversation what was heard, and do what it wants until it listens or ends."""
        while talk.dialogue is not None:
            try:
                step = talk.dialogue.send(heard)  # type: ignore[arg-type]  # None starts a generator
            except StopIteration as stop:
                self._hang_up(talk, stop.value)
                return
            except Exception as error:  # noqa: BLE001  # one peer must not cost the results of all the others
                detail = f"{NOT_UNDERSTOOD} ({type(error).__name__})"
                self._hang_up(talk, Findings(Status.PROTOCOL_ERROR, detail))
                return
            if isinstance(step, Say):
                self._say(talk, step)
                heard = b""
            elif self._listen(talk, step):
                return
            else:
                heard = Ending.EXPIRED

    def _say(self, talk: _Talk, step: Say) -> None:
        if step.answered:
            talk.ends = talk.job.attempt_ends
        if step.farewell and talk.settled is None:
            talk.settled = self._network.now()
            talk.ends = min(talk.ends, talk.settled + FAREWELL_SECONDS)
        self._network.send(talk.handle, step.data)

    def _listen(self, talk: _Talk, step: Hear) -> bool:
        """Set the time until which the conversation listens; False when it is over already."""
        now = self._network.now()
        expires = talk.ends if step.seconds is None else min(talk.ends, now + step.seconds)
        if expires <= now:
            return False
        if expires != talk.expires:
            talk.expires = expires
            self._set_alarm(expires, talk)
        return True

    def _hang_up(self, talk: _Talk, findings: Findings) -> None:
        self._drop(talk)
        job = talk.job
        verdict = job.approach.conclude(findings)
        if verdict is not None:
            self._settle(job, verdict, at=talk.settled)
        elif not (job.approach.may_be_starting() and self._try_later(job, self._result(job, findings))):
            self._dial(job)

    def _drop(self, talk: _Talk) -> None:
        self._network.close(talk.handle)
        del self._talks[talk.handle]
        self._room = min(self._most_room, self._room + 1)

    def _not_connected(self, failed: Failed) -> Findings:
        reason = os.strerror(failed.error)
        if failed.error in _REFUSED:
            return Findings(Status.REFUSED)
        if failed.error in _TIMED_OUT:
            return Findings(Status.TIMEOUT, "the system gave up connecting")
        if failed.error in _RESET:
            return Findings(Status.RESET, reason)
        return Findings(Status.UNREACHABLE, reason + self._local_remedy(failed.error))

    def _local_remedy(self, error: int) -> str:
        """Say what to do about an error that lies with the probe host and not with the network."""
        if error in _LOCAL and self._options.source_address is not None:
            return f": is source_address {self._options.source_address} an address of the probe host?"
        if error == errno.EADDRNOTAVAIL:
            return ": the probe host has no local port left, lower concurrency"
        return ""

    # --- time ---------------------------------------------------------------------------------------------------

    def _set_alarm(self, when: float, subject: _Talk | str) -> None:
        self._serial += 1
        heapq.heappush(self._alarms, (when, self._serial, subject))

    def _next_alarm(self) -> float:
        times = [heap[0][0] for heap in (self._later, self._alarms) if heap]
        return min(times, default=self._network.now())

    def _expire(self) -> None:
        now = self._network.now()
        while self._alarms and self._alarms[0][0] <= now:
            subject = heapq.heappop(self._alarms)[2]
            if isinstance(subject, str):
                self._give_up_name(subject)
            elif subject.expires <= now:
                self._expire_talk(subject)

    def _expire_talk(self, talk: _Talk) -> None:
        if self._talks.get(talk.handle) is not talk:
            return  # it ended in time
        if talk.dialogue is not None:
            self._advance(talk, Ending.EXPIRED)
            return
        detail = f"no answer to the connection request in {talk.expires - talk.begun:.3g} s"
        self._drop(talk)
        self._not_reached(talk.job, Findings(Status.TIMEOUT, detail))

    def _give_up_name(self, host: str) -> None:
        """Give a name up, unless the name server has answered for others since: then it has yet to come to this one."""
        jobs = self._waiting_for_name.get(host)
        if jobs is None:
            return  # it was answered in time
        until = max(jobs[0].attempt_ends, self._name_server_spoke + self._options.timeout)
        if until > self._network.now():
            self._set_alarm(until, host)
            return
        detail = f"the name server did not answer in {self._options.timeout:g} s"
        for job in self._waiting_for_name.pop(host):
            self._settle(job, Findings(Status.UNRESOLVED, detail))

    # --- results ------------------------------------------------------------------------------------------------

    def _settle(self, job: _Job, findings: Findings, *, at: float | None = None, final: bool = False) -> None:
        """Record the verdict, or begin again later."""
        result = self._result(job, findings, at=at)
        self._watch(job.index, result)
        lasting = final or (job.target.expect == "open" and (findings.status in LASTING or job.approach.is_spent()))
        if result["ok"] or lasting or not self._try_later(job, result):
            self._record(job, result)

    def _try_later(self, job: _Job, result: dict[str, t.Any]) -> bool:
        """Put another attempt off for a while; False when it would begin too late."""
        next_attempt = self._network.now() + self._options.delay
        if next_attempt > self._begun + self._options.deadline:
            return False
        job.result = result
        if not job.approach.is_bound():
            job.turn += 1
        self._serial += 1
        heapq.heappush(self._later, (next_attempt, self._serial, job))
        return True

    def _result(self, job: _Job, findings: Findings, *, at: float | None = None) -> dict[str, t.Any]:
        now = self._network.now()
        started = now if job.started is None else job.started
        elapsed = (now if at is None else at) - started
        result = result_of(job.target, findings)
        result.update(address=job.address, attempts=job.attempts, elapsed_ms=round(elapsed * 1000))
        return result

    def _record(self, job: _Job, result: dict[str, t.Any]) -> None:
        self._results[job.index] = result
        self._unsettled -= 1


def _most_telling(unreached: t.Sequence[tuple[str, Findings]]) -> tuple[str, Findings]:
    """Return the address whose machine said most, and its findings, with the others in the detail."""
    address, findings = min(unreached, key=lambda each: _UNREACHED.index(each[1].status))
    others = [f"{other} {said_of(each.status)}" for other, each in unreached if other != address]
    if not others:
        return address, findings
    told = ", ".join(others)
    return address, dataclasses.replace(findings, detail=f"{findings.detail}; {told}" if findings.detail else told)


def result_of(target: Target, findings: Findings) -> dict[str, t.Any]:
    """Return the result of a target as plain data, before `probe` adds address, attempts and elapsed_ms."""
    return {
        "host": target.host,
        "port": target.port,
        "protocol": target.protocol,
        "expect": target.expect,
        "ok": _is_as_expected(target, findings),
        "status": findings.status.value,
        "detail": findings.detail,
        "address": None,
        "attempts": 0,
        "elapsed_ms": 0,
        "speaks": findings.speaks,
        "greeting": findings.greeting,
        "product": findings.product,
        "version": findings.version,
        "ldap": None if findings.ldap is None else dataclasses.asdict(findings.ldap),
        "tls": None if findings.tls is None else _tls_as_data(findings),
    }


def _is_as_expected(target: Target, findings: Findings) -> bool:
    if findings.status not in SATISFYING[target.expect]:
        return False
    if target.expect == "closed":
        return findings.product != EXCHANGE  # it answers, if as another protocol or without TLS: nothing has closed
    return target.expect == "any" or target.greeting is None or findings.greeting is not None


def _tls_as_data(findings: Findings) -> dict[str, t.Any] | None:
    if findings.tls is None:
        return None
    return {**dataclasses.asdict(findings.tls), "ciphers": list(findings.tls.ciphers)}
