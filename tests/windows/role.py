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
TASKS_AT_ONCE: t.Final = 9
ODD: t.Final = "C:\\exchsrvr\\odd{}.ini"
Json: t.TypeAlias = dict[str, t.Any]


@dataclass(frozen=True)
class Odd:
    """A file as editors leave them.

    Attributes:
        what: What is odd about it.
        before: Its bytes.
        after: Its bytes after the task.
        reads: What GetPrivateProfileString reads then, by section and key; None for nothing.
        wish: Options of win_ini.
    """

    what: str
    before: bytes
    after: bytes
    reads: tuple[tuple[str, str, str | None], ...] = (("A", "b", "2"),)
    wish: tuple[tuple[str, t.Any], ...] = (("sections", {"A": {"b": 2}}),)


def _utf_16(text: str) -> bytes:
    return b"\xff\xfe" + text.encode("utf-16-le")


ODD_FILES: t.Final[tuple[Odd, ...]] = (
    Odd("no line end at the end", b"[A]\r\nb=1", b"[A]\r\nb=2"),
    Odd("line feeds alone", b"[A]\nb=1\n", b"[A]\nb=2\n"),
    Odd("blanks and another case", b" [a] \r\n  B = 1\r\n", b" [a] \r\n  B = 2\r\n"),
    Odd("a comment in ANSI", b"; \xfcber\r\n[A]\r\nb=1\r\n", b"; \xfcber\r\n[A]\r\nb=2\r\n"),
    Odd("empty", b"", b"[A]\r\nb=2\r\n"),
    Odd(
        "UTF-16 with its mark",
        _utf_16("[A]\r\nb=1\r\n\u540d=\u300c\r\n"),
        _utf_16("[A]\r\nb=2\r\n\u540d=\u300d\r\n"),
        reads=(("A", "b", "2"), ("A", "\u540d", "\u300d")),
        wish=(("sections", {"A": {"b": 2, "\u540d": "\u300d"}}),),
    ),
    Odd(
        "quotes that stay, and quotes that are needed",
        b'[A]\r\nb="C:\\old"\r\nc=1\r\n',
        b'[A]\r\nb="C:\\new"\r\nc=" x "\r\nd=""y""\r\n',
        reads=(("A", "b", "C:\\new"), ("A", "c", " x "), ("A", "d", '"y"')),
        wish=(("sections", {"A": {"b": "C:\\new", "c": " x ", "d": '""y""'}}),),
    ),
    Odd(
        "a key twice, and one in a comment",
        b"[A]\r\nb=1\r\nB=9\r\n;c=1\r\n[a]\r\nb=8\r\n",
        b"[A]\r\nb=2\r\nB=9\r\n;c=1\r\nc=3\r\n[a]\r\nb=8\r\n",
        reads=(("A", "b", "2"), ("A", "c", "3")),
        wish=(("sections", {"A": {"b": 2, "c": 3}}),),
    ),
    Odd(
        "keys that leave, one without a value, and one before any section",
        b"x=0\r\n[A]\r\nb=1\r\nskip\r\nc=2\r\n",
        b"x=1\r\n[A]\r\nb=2\r\nbare\r\n",
        reads=(("A", "b", "2"), ("A", "c", None), ("A", "x", None)),
        wish=(
            ("sections", {"": {"x": 1}, "A": {"b": 2}}),
            ("bare_keys", {"A": ["bare"]}),
            ("absent_keys", {"A": ["c", "skip"]}),
        ),
    ),
    Odd("CR CR LF", b"[A]\r\r\nb=1\r\r\n", b"[A]\r\r\nb=2\r\r\n"),
    Odd(
        "UTF-8 without a mark",
        "[A]\r\nb=1\r\n; Gr\xf6\xdfe\r\n".encode(),
        "[A]\r\nb=2\r\n; Gr\xf6\xdfe\r\n".encode(),
    ),
)
# What is refused, so that not a byte of it changes.
DAMAGED: t.Final[tuple[bytes, ...]] = (
    "[A]\r\nb=1\r\n".encode("utf-16-le"),
    b"\xef\xbb\xbf" + _utf_16("[A]\r\nb=1\r\n"),
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
        """win_ini on files as editors leave them: once changed, then not again; and what Windows reads then."""
        tasks: list[Json] = []
        for at, odd in enumerate(ODD_FILES):
            self.server.write(ODD.format(at), odd.before)
            wish = {"msexchange.winsock_proxy.win_ini": {"path": ODD.format(at), **dict(odd.wish)}}
            look = {"msexchange.winsock_proxy.win_ini_info": {"path": ODD.format(at)}}
            tasks += [{"name": f"Task {at}, {step}", **task} for step, task in enumerate((wish, look, wish))]
        results = self._odd(tasks)
        for at, odd in enumerate(ODD_FILES):
            first, seen, again = results[at * 3 : at * 3 + 3]
            found = self.server.file(ODD.format(at))
            if found != odd.after or not first["changed"] or again["changed"]:
                told = f"changed {first['changed']}, then {again['changed']}"
                raise AssertionError(f"{odd.what}: {found!r}, not {odd.after!r}; {told}")
            read = {
                name.lower(): {key.lower(): text for key, text in keys.items()}
                for name, keys in seen["content"].items()
            }
            for section, key, value in odd.reads:
                windows = self.server.profile(ODD.format(at), section, key)
                ours = read.get(section.lower(), {}).get(key.lower())
                if not windows == ours == value:
                    raise AssertionError(f"{odd.what}: [{section}] {key} is {windows!r} to Windows and {ours!r} to us")

    def damaged_ini_files(self) -> None:
        """win_ini on files whose encoding is not what it seems: refused, and not a byte changes."""
        for at, data in enumerate(DAMAGED):
            self.server.write(ODD.format(at), data)
        tasks = [
            {
                "name": f"Task {at}",
                "ignore_errors": True,
                "msexchange.winsock_proxy.win_ini": {"path": ODD.format(at), "sections": {"A": {"b": 2}}},
            }
            for at in range(len(DAMAGED))
        ]
        for at, result in enumerate(self._odd(tasks)):
            found = self.server.file(ODD.format(at))
            if not result["failed"] or found != DAMAGED[at]:
                raise AssertionError(f"failed {result['failed']}: {found!r}, not {DAMAGED[at]!r}")

    def _odd(self, tasks: list[Json]) -> list[Json]:
        """Run the tasks, a few at a time, for a playbook has only so much time."""
        results: list[Json] = []
        for at in range(0, len(tasks), TASKS_AT_ONCE):
            few = json.dumps(tasks[at : at + TASKS_AT_ONCE])
            text = f"- name: Test\n  hosts: real\n  gather_facts: false\n  tasks: {few}\n"
            run = self.play.run(self.play.write("odd.yml", text))
            self._ends(run, 0)
            ended = ((entry.result, entry.outcome) for entry in run.of("real"))
            results += [{**result, "failed": outcome == "ignored"} for result, outcome in ended]
        return results

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
    Scene.damaged_ini_files,
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
