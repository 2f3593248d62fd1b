# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ``ansible-playbook`` as a user would, and reads what every task returned.

Nothing of the developer's own environment gets in: no proxy variables (pywinrm obeys them), no certificate bundle, no
``ansible.cfg`` and no ``~/.ansible``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CALLBACKS = Path(__file__).resolve().parent / "callbacks"
COLLECTION = "msexchange.winsock_proxy"
Json = dict[str, t.Any]

# Variables of the caller that would change what Ansible or pywinrm does.
_FOREIGN = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "requests_ca_bundle",
    "curl_ca_bundle",
    "ssl_cert_file",
)


# The task that asks every port, and the text of a summary up to what Ansible prints next.
_ASKED = "ports | Check the ports once"
_SUMMARY = re.compile(r"^((?:Published|Unpublished|Restored) \d+ of .*?)^(?:ok|TASK|PLAY)\b", re.MULTILINE | re.DOTALL)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Environment of an Ansible that knows this checkout and nothing else.

    Args:
        home: Directory for Ansible's temporary files and for its ``HOME``.
        more: Further variables.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in _FOREIGN and not name.startswith(("ANSIBLE_", "MOLECULE_"))
    }
    return {
        **kept,
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / "ansible"),
        "ANSIBLE_CONFIG": str(home / "none.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        # A module on localhost expands ~ by the user's name, whatever HOME says.
        "ANSIBLE_REMOTE_TMP": str(home / "remote"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "link"),
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "true",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
        "LC_ALL": "C.UTF-8",
        **more,
    }


@dataclass(frozen=True)
class Entry:
    """What one task returned on one host.

    ``outcome``: ok, failed, ignored, skipped or unreachable; ``once``: whether it ran for all hosts at once.
    """

    outcome: str
    host: str
    task: str
    action: str
    result: Json
    once: bool = False


@dataclass(frozen=True)
class Run:
    """One finished run of ``ansible-playbook``."""

    status: int
    output: str
    entries: tuple[Entry, ...]
    stats: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def of(self, host: str, action: str = "", task: str = "", outcome: str = "") -> list[Entry]:
        """Entries of a host, in order; ``action`` without the collection's name, ``task`` a part of its name."""
        return [
            entry
            for entry in self.entries
            if entry.host == host
            and action in ("", entry.action.rpartition(".")[2])
            and task in entry.task
            and outcome in ("", entry.outcome)
        ]

    def last(self, host: str, action: str, task: str = "") -> Json:
        """Result of the last run of a module on a host that was not skipped."""
        found = [entry for entry in self.of(host, action, task) if entry.outcome != "skipped"]
        if not found:
            raise AssertionError(f"{action} did not run on {host}\n{self.output}")
        return found[-1].result

    def changed(self, host: str) -> int:
        """Tasks that changed something on a host, as the recap counts them."""
        return self.stats.get(host, {}).get("changed", 0)

    def failed(self) -> list[str]:
        """Hosts that failed, in the order of their names."""
        return sorted(host for host, counts in self.stats.items() if counts.get("failures"))

    def unreachable(self) -> list[str]:
        """Hosts that could not be reached."""
        return sorted(host for host, counts in self.stats.items() if counts.get("unreachable"))

    def fleet(self, action: str) -> Json:
        """Result of the last task of an action that decides for all servers at once, such as ``publish_plan``."""
        found = [entry for entry in self.entries if entry.action.rpartition(".")[2] == action and entry.outcome == "ok"]
        if not found:
            raise AssertionError(f"{action} did not run\n{self.output}")
        return found[-1].result

    def plan(self) -> str:
        """The last plan or audit, as it was printed."""
        text = "\n".join(self.fleet("publish_plan")["lines"])
        assert f"\n{text}\n" in self.output, f"this was not printed:\n{text}\n{self.output}"
        return text

    def summary(self) -> str:
        """The summary, as it was printed; a run prints one at most."""
        (found,) = _SUMMARY.findall(self.output) or [""]
        return str(found)

    @staticmethod
    def server(host: str, text: str) -> str:
        """What a plan or a summary says of a server, alone or with others alike, unwrapped to one line."""
        blocks = [block.split() for block in re.split(r"\n\s*\n", text)]
        return " ".join(word for block in blocks for word in block if _is_about(host, block))

    def answers(self) -> list[Json]:
        """What the ports answered that the plan was made from."""
        rows = [row for entry in self.entries if entry.task.endswith(_ASKED) for row in entry.result["results"]]
        return [port for row in rows for port in row.get("results", ())]

    def messages(self, host: str) -> str:
        """Everything that a host's failed or unreachable tasks said."""
        bad = [entry for entry in self.entries if entry.host == host and entry.outcome in ("failed", "unreachable")]
        return "\n".join(str(entry.result.get("msg", "")) for entry in bad)


def _entries(path: Path) -> Iterator[Json]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def _is_about(host: str, block: Sequence[str]) -> bool:
    """Whether an entry is one server's, or that of several alike."""
    return host in (block if block[1:3] == ["servers", "alike:"] else block[:1])


class Playbooks:
    """Runs playbooks against one inventory.

    Args:
        inventory: Inventory file, usually the lab's.
        work: Directory for everything that the runs leave; emptied by its owner.
        variables: Environment variables for every run.
    """

    def __init__(self, inventory: Path, work: Path, variables: Mapping[str, str] | None = None) -> None:
        self._inventory = inventory
        self._work = work
        self._variables = dict(variables or {})
        self._count = 0
        work.mkdir(parents=True, exist_ok=True)

    def start(self, playbook: str | Path, *arguments: str, extra: Mapping[str, t.Any] | None = None) -> Started:
        """Start a run and return at once.

        Args:
            playbook: A file, or the name of one of the collection's playbooks.
            arguments: Further arguments of ``ansible-playbook``.
            extra: Extra variables, of any JSON type.
        """
        self._count += 1
        record = self._work / f"run{self._count}.jsonl"
        record.unlink(missing_ok=True)
        name = str(playbook) if isinstance(playbook, Path) else f"{COLLECTION}.{playbook}"
        more = ["--extra-vars", json.dumps(extra)] if extra else []
        process = subprocess.Popen(
            [sys.executable, "-m", "ansible", "playbook", "-i", str(self._inventory), name, *arguments, *more],
            cwd=self._work,
            env=environment(
                self._work,
                ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS),
                ANSIBLE_CALLBACKS_ENABLED="recorder",
                RECORDER_PATH=str(record),
                **self._variables,
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        return Started(process, record)

    def run(
        self,
        playbook: str | Path,
        *arguments: str,
        extra: Mapping[str, t.Any] | None = None,
        timeout: float = 300.0,
    ) -> Run:
        """Run to the end; arguments as for :meth:`start`, ``timeout`` in seconds guards against a hang."""
        return self.start(playbook, *arguments, extra=extra).wait(timeout)

    def write(self, name: str, text: str) -> Path:
        """Put a playbook or a file of tasks into the work directory."""
        path = self._work / name
        path.write_text(text, encoding="utf-8")
        return path


@dataclass(frozen=True)
class Started:
    """A run under way."""

    process: subprocess.Popen[str]
    record: Path

    def wait(self, timeout: float = 300.0) -> Run:
        """Wait for the end and read what was recorded."""
        try:
            output, _none = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            output, _none = self.process.communicate()
            raise AssertionError(f"ansible-playbook still ran after {timeout} s\n{output}") from None
        self.record.with_suffix(".log").write_text(output, encoding="utf-8")
        recorded = list(_entries(self.record))
        entries = tuple(
            Entry(line["outcome"], line["host"], line["task"], line["action"], line["result"], line["once"])
            for line in recorded
            if line["kind"] == "task"
        )
        stats = next((line["hosts"] for line in recorded if line["kind"] == "stats"), {})
        return Run(self.process.returncode, output, entries, stats)

    def kill(self) -> None:
        """End the controller and its workers as a power cut would (SIGKILL).

        Workers of newer ansible-core lead sessions of their own, so the process group is not enough.
        """
        os.kill(self.process.pid, signal.SIGSTOP)  # no new workers from here on
        for number in (*_descendants(self.process.pid), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def _descendants(number: int) -> list[int]:
    """Processes that a process started, directly or not."""
    children = Path(f"/proc/{number}/task").glob("*/children")
    found = [int(child) for listed in children for child in listed.read_text(encoding="ascii").split()]
    return [*found, *(below for child in found for below in _descendants(child))]
