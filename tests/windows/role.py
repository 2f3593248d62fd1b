# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role, whole, against a real server: published, spoilt, audited, corrected, cut off, taken off, restored."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
import typing as t
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.lab.exchange.wspcfg import read_section
from tests.support.playbook import Playbooks, Run
from tests.windows import BUILD, front
from tests.windows.front import BIN_FILE, IMC_FILE, RealServer
from tests.windows.report import Result

if t.TYPE_CHECKING:
    from tests.windows.lane import StageServer

DRIFT: t.Final = 2
CUT_SECONDS: t.Final = 120
GREETINGS: t.Final[dict[str, str]] = {"pop3": "+OK", "imap4": "*", "smtp": "220"}
CLOSED: t.Final[dict[str, str]] = dict.fromkeys(GREETINGS, "")
ODD: t.Final = "C:\\exchsrvr\\odd.ini"
# Files as editors leave them, and what setting one key makes of them.
ODD_FILES: t.Final[tuple[tuple[str, bytes, bytes], ...]] = (
    ("no line end at the end", b"[A]\r\nb=1", b"[A]\r\nb=2"),
    ("line feeds alone", b"[A]\nb=1\n", b"[A]\nb=2\n"),
    ("blanks and another case", b" [a] \r\n  B = 1\r\n", b" [a] \r\n  B = 2\r\n"),
    ("a comment in ANSI", b"; \xfcber\r\n[A]\r\nb=1\r\n", b"; \xfcber\r\n[A]\r\nb=2\r\n"),
    ("empty", b"", b"[A]\r\nb=2\r\n"),
)


@dataclass
class Scene:
    """A real server, and playbooks against it."""

    server: RealServer
    play: Playbooks

    def audit(self, wanted: int) -> None:
        """The audit ends with this status."""
        self._ends(self.play.run("audit"), wanted)

    def publish(self, *, changes: bool, **extra: t.Any) -> None:
        """Publishing succeeds, and has or has not something to do; then the ports are open and all services run."""
        run = self.play.run("publish", extra=extra or None)
        self._ends(run, 0)
        if bool(run.changed("real")) != changes:
            raise AssertionError(f"publish changed {run.changed('real')} things\n{run.output[-3000:]}")
        self.is_published()

    def is_published(self) -> None:
        """What the world sees of a published server."""
        self.sees(GREETINGS)
        stores = read_section(self.server.file(BIN_FILE) or b"", "STORE")
        smtp = read_section(self.server.file(IMC_FILE) or b"", "MSEXCIMC")
        ports = self.server.ports
        if stores is None or smtp is None or {*stores.ports, *smtp.ports} != set(ports.values()):
            raise AssertionError(f"the files say {stores} and {smtp}")

    def sees(self, greetings: dict[str, str]) -> None:
        """These ports answer from outside, the others refuse, and every service runs."""
        found = self.server.greetings()
        if found != greetings:
            raise AssertionError(f"from outside: {found}, not {greetings}")
        down = {name: state for name, state in self.server.states().items() if state != "running"}
        if down:
            raise AssertionError(f"not running: {down}")

    def _ends(self, run: Run, wanted: int) -> None:
        if run.status != wanted:
            raise AssertionError(f"exit status {run.status}, not {wanted}\n{run.output[-3000:]}")

    # --- the steps, in this order ---

    def nothing_is_published_yet(self) -> None:
        self.audit(DRIFT)
        self.sees(CLOSED)

    def published(self) -> None:
        self.publish(changes=True)

    def published_again(self) -> None:
        self.publish(changes=False)
        self.audit(0)

    def verified(self) -> None:
        self._ends(self.play.run("verify"), 0)

    def drift_in_the_file(self) -> None:
        self.server.write(BIN_FILE, (self.server.file(BIN_FILE) or b"").replace(b"[STORE]", b"[STROE]"))
        self.audit(DRIFT)
        self.publish(changes=True)
        self.audit(0)

    def drift_no_file(self) -> None:
        self.server.write(IMC_FILE, None)
        self.audit(DRIFT)
        self.publish(changes=True)
        self.audit(0)

    def drift_in_the_process(self) -> None:
        """The file is right again, but the process has read another one."""
        right = self.server.file(BIN_FILE) or b""
        self.server.write(BIN_FILE, b"")
        self.server.restart("MSExchangeIMC", "MSExchangeIS")
        self.server.write(BIN_FILE, right)
        self.sees({**CLOSED, "smtp": GREETINGS["smtp"]})
        self.audit(DRIFT)
        self.publish(changes=True)
        self.audit(0)

    def worker_killed(self) -> None:
        """The worker dies between stop and start; whatever that run makes of it, the next one heals it."""
        started = self.play.start("publish", extra={"publish_listeners": ["pop3", "smtp"]})
        try:
            self._cut()
        except BaseException:
            started.kill()
            raise
        started.wait()
        run = self.play.run("publish")
        self._ends(run, 0)
        self.is_published()
        self.publish(changes=False)

    def _cut(self) -> None:
        """Kill the worker as soon as a service is down."""
        end = time.monotonic() + CUT_SECONDS
        while "stopped" not in self.server.states().values():
            if time.monotonic() > end:
                raise AssertionError(f"no service was stopped within {CUT_SECONDS} s")
            time.sleep(0.1)
        pids = self.server.workers()
        if not pids:
            raise AssertionError("a service is down and there is no worker")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def unpublished(self) -> None:
        self._ends(self.play.run("unpublish"), 0)
        self.sees(CLOSED)
        for path, section in ((BIN_FILE, "STORE"), (IMC_FILE, "MSEXCIMC")):
            settings = read_section(self.server.file(path) or b"", section)
            if settings is not None and settings.ports:
                raise AssertionError(f"{path} still says {settings}")

    def restored(self) -> None:
        self._ends(self.play.run("restore", extra={"publish_restore": "latest"}), 0)
        self.is_published()
        self.verified()

    def ini_files(self) -> None:
        """win_ini and win_ini_info on files as editors leave them: once changed, then not again."""
        for what, before, after in ODD_FILES:
            self.server.write(ODD, before)
            wish: dict[str, t.Any] = {"msexchange.winsock_proxy.win_ini": {"path": ODD, "sections": {"A": {"b": 2}}}}
            look: dict[str, t.Any] = {"msexchange.winsock_proxy.win_ini_info": {"path": ODD}}
            tasks = [{"name": f"Task {number}", **task} for number, task in enumerate((wish, look, wish), 1)]
            text = f"- name: Test\n  hosts: real\n  gather_facts: false\n  tasks: {json.dumps(tasks)}\n"
            run = self.play.run(self.play.write("odd.yml", text))
            self._ends(run, 0)
            first, seen, again = (entry.result for entry in run.of("real"))
            if self.server.file(ODD) != after:
                raise AssertionError(f"{what}: {self.server.file(ODD)!r}, not {after!r}")
            values = {name.lower(): keys for name, keys in seen["content"].items()}["a"]
            if (
                not first["changed"]
                or again["changed"]
                or {key.lower(): text for key, text in values.items()} != {"b": "2"}
            ):
                raise AssertionError(f"{what}: changed {first['changed']}, then {again['changed']}; read {values}")

    def no_mistake_of_the_front(self) -> None:
        if self.server.wire.failures:
            raise AssertionError(f"{self.server.wire.failures}")


STEPS: t.Final = (
    Scene.nothing_is_published_yet,
    Scene.published,
    Scene.published_again,
    Scene.verified,
    Scene.drift_in_the_file,
    Scene.drift_no_file,
    Scene.drift_in_the_process,
    Scene.worker_killed,
    Scene.unpublished,
    Scene.restored,
    Scene.ini_files,
    Scene.no_mistake_of_the_front,
)
DEMO: t.Final = (
    Scene.nothing_is_published_yet,
    Scene.published,
    Scene.published_again,
    Scene.drift_in_the_file,
    Scene.worker_killed,
    Scene.unpublished,
)
# What another way to the server may change: whether it is reached, and what comes back.
SHORT: t.Final = (
    Scene.nothing_is_published_yet,
    Scene.published,
    Scene.published_again,
    Scene.unpublished,
    Scene.no_mistake_of_the_front,
)
Step: t.TypeAlias = Callable[[Scene], None]


@dataclass(frozen=True)
class Way:
    """How the server is reached, and what is done then.

    Attributes:
        mode: what the report calls it.
        connection: ``winrm`` or ``psrp``.
        computer: the script reaches the server by its name.
        steps: what is done, in order.
    """

    mode: str
    connection: str
    computer: bool
    steps: tuple[Step, ...]


WHOLE: t.Final = Way("role", "winrm", False, STEPS)
WAYS: t.Final = (WHOLE, Way("role-psrp", "psrp", False, SHORT), Way("role-computer", "winrm", True, SHORT))
SHOWN: t.Final = Way("role", "winrm", False, DEMO)


@contextlib.contextmanager
def scene(stage: StageServer, way: Way = WHOLE) -> Iterator[Scene]:
    """A real server that nothing was done to yet, and playbooks for it."""
    work = BUILD / way.mode
    shutil.rmtree(work, ignore_errors=True)
    serving = front.serving(stage.stage, stage.pwsh, work / "front", connection=way.connection, computer=way.computer)
    with serving as server:
        yield Scene(server, Playbooks(server.inventory, work / "runs"))


def play(stage: StageServer, tell: Callable[[Result], None], ways: Sequence[Way] = WAYS) -> list[Result]:
    """Do the steps of each way; after the first one that fails the others of that way prove nothing, and fail too.

    Args:
        stage: the machine.
        tell: is told each result as it comes.
        ways: how the server is reached, and what is done.
    """
    return [result for way in ways for result in _play(stage, tell, way)]


def _play(stage: StageServer, tell: Callable[[Result], None], way: Way) -> list[Result]:
    results: list[Result] = []
    broken = ""
    with scene(stage, way) as here:
        for step in way.steps:
            began, why = time.monotonic(), broken
            if not broken:
                try:
                    step(here)
                except Exception as error:  # noqa: BLE001  one more result
                    why, broken = f"{type(error).__name__}: {error}", f"after {step.__name__}, which failed"
            verdict: t.Literal["failed", "proven"] = "failed" if why else "proven"
            name = f"role-{step.__name__.replace('_', '-')}"
            results.append(Result(name, way.mode, verdict, (why,) if why else (), round(time.monotonic() - began, 1)))
            tell(results[-1])
    return results
