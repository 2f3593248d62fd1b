# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that run everything else: what they count, what they refuse, what they find left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tools import bootstrap, gates, leftovers, packages, reference
from tests.tools.isolate import ROOT

REPORT = """<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c">
<skipped message="no wine"/></testcase><testcase name="d"><error/></testcase></testsuite></testsuites>"""


def gate(name: str, *command: str, tests: bool = False, setup: tuple[str, ...] = ()) -> gates.Gate:
    return gates.Gate(name, "test", command or ("true",), tests=tests, setup=setup)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of its own for the gates."""
    monkeypatch.setattr(gates, "BUILD", tmp_path)
    for name in ("logs", "results"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_report_is_counted(build: Path) -> None:
    (build / "results" / "x.xml").write_text(REPORT, encoding="ascii")
    outcome = gates.read_report(gate("x", tests=True), 1, 0.0)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, 2, ("c: no wine",))


def test_the_first_failures_are_told_before_what_followed_from_them(build: Path) -> None:
    cases = "".join(
        f"<testcase classname='tests.x' name='t{number}'><error>first line\nwhy {number}</error></testcase>"
        for number in range(gates.NAMED_FAILURES + 5)
    )
    (build / "results" / "x.xml").write_text(f"<testsuites>{cases}</testsuites>", encoding="ascii")
    told = gates.what_failed(gate("x", tests=True))
    assert told[:3] == ["error: tests.x t0", "    first line", "    why 0"]
    assert [line for line in told if "why" in line] == [f"    why {number}" for number in range(gates.WHOLE_FAILURES)]
    assert told[-1] == "... and 5 more"
    assert len([line for line in told if line.startswith("error: ")]) == gates.NAMED_FAILURES
    assert gates.what_failed(gate("x")) == []


def test_suite_that_fails_without_a_failing_test_is_a_failure(build: Path) -> None:
    (build / "results" / "x.xml").write_text("<testsuites><testcase name='a'/></testsuites>", encoding="ascii")
    assert gates.read_report(gate("x", tests=True), 1, 0.0).failed == 1


def test_suite_that_never_reported_is_a_failure(build: Path) -> None:
    assert gates.read_report(gate("x", tests=True), 2, 0.0).failed == 1


@pytest.mark.parametrize(("status", "counts"), [("0", (1, 0)), ("3", (0, 1))])
def test_gate_is_judged_by_its_exit_status(
    build: Path, monkeypatch: pytest.MonkeyPatch, status: str, counts: tuple[int, int]
) -> None:
    monkeypatch.setattr(gates, "ROOT", build)
    outcome = gates.run(gate("x", "sh", "-c", f"echo why; exit {status}"), "run")
    assert (outcome.passed, outcome.failed) == counts


def test_missing_interpreter_is_a_skip_with_its_reason(build: Path) -> None:
    setup = ("sh", "-c", "echo 'core9: no Python 9.9'; exit 77")
    outcome = gates.run(gate("x", tests=True, setup=setup), "run")
    assert (outcome.passed, outcome.failed, outcome.skipped) == (0, 0, ("core9: no Python 9.9",))


def test_broken_setup_is_a_failure(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "ROOT", build)
    assert gates.run(gate("x", tests=True, setup=("false",)), "run").failed == 1


def test_closing_line_adds_up() -> None:
    one, two = gates.Outcome(gate("a"), 3, 0, ("why",), 1.0), gates.Outcome(gate("b"), 4, 2, (), 1.0)
    assert gates.closing([one, two]) == "7 passed, 2 failed, 1 skipped"
    assert gates.closing([two]) == "4 passed, 2 failed"


def test_processes_of_the_run_are_found_and_no_others() -> None:
    environment = {**os.environ, leftovers.MARK: "found-me"}
    with subprocess.Popen(["sleep", "60"], env=environment) as child:
        try:
            assert leftovers.processes("found-me") == [f"{child.pid} sleep 60 "]
            assert leftovers.processes("somebody-else") == []
        finally:
            child.kill()


def set_up(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tests" / "tools" / "bootstrap.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_missing_python_is_named_with_the_remedy(tmp_path: Path) -> None:
    done = set_up({"PATH": str(tmp_path), "HOME": str(tmp_path)}, "--target", str(tmp_path / "venv"))
    assert done.returncode == bootstrap.NO_PYTHON
    assert "apt-get install python3 python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_python_without_venv_is_named_with_the_remedy(tmp_path: Path) -> None:
    crippled = tmp_path / "python3"
    crippled.write_text(
        f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n', encoding="utf-8"
    )
    crippled.chmod(0o755)
    done = set_up({"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": str(crippled)}, "--target", str(tmp_path / "venv"))
    if bootstrap.python_version(str(crippled)) not in bootstrap.LANES[bootstrap.MAIN].pythons:
        pytest.skip("runs in a lane whose Python the main one does not support")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("O(listeners) or O(ports=\\(1\\))", "`listeners` or `ports=(1)`"),
        ("V(true), RV(files[].path), E(HOME)", "`true`, `files[].path`, `HOME`"),
        (
            "M(msexchange.winsock_proxy.wspcfg) and M(ansible.windows.win_ping)",
            "`wspcfg` and `ansible.windows.win_ping`",
        ),
        ("see L(the article,https://example.org/a) B(now)", "see [the article](https://example.org/a) **now**"),
        ("O(msexchange.winsock_proxy.wspcfg#module:state)", "`state`"),
        ("a | b\n  c", "a | b c"),
    ],
)
def test_documentation_markup_becomes_markdown(text: str, wanted: str) -> None:
    assert reference.markdown(text) == wanted


def test_packages_of_the_asked_profile_and_platform() -> None:
    text = "# servers\nslapd [platform:dpkg test]  # LDAP\nslapd-rpm [platform:rpm test]\ngit\nkrb5-user [kerberos]\n"
    assert list(packages.packages(text, frozenset({"test"}))) == ["slapd", "git"]


def test_unknown_form_of_a_package_line_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read"):
        list(packages.packages("(a | b) [test]", frozenset()))


@pytest.mark.parametrize(("version", "lane"), [("3.12", "core2.19"), ("3.14", "core2.21"), ("3.8", "core2.19")])
def test_main_environment_follows_the_python_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, lane: str
) -> None:
    python = tmp_path / f"python{version}"
    python.write_text(f"#!/bin/sh\necho {version}\n", encoding="ascii")
    python.chmod(0o755)
    for name, value in {"PATH": str(tmp_path), "PYENV_ROOT": str(tmp_path), "PYTHON": str(python)}.items():
        monkeypatch.setenv(name, value)
    assert bootstrap.main_lane().name == lane


GATES = """
from tests.tools import gates
gates.BUILD = gates.Path({folder!r})
gates.GATES = (gates.Gate("x", "lint", {command!r}),)
gates.main(["--only", "x"])
"""
ISOLATE = """
from tests.tools import isolate
isolate.BUILD = isolate.Path({folder!r})
isolate.main({command!r})
"""


@pytest.mark.parametrize("code", [GATES, ISOLATE], ids=["gates", "isolate"])
@pytest.mark.parametrize("number", leftovers.SIGNALS)
def test_who_is_interrupted_takes_his_processes_along(tmp_path: Path, code: str, number: signal.Signals) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    command = ["sh", "-c", f"sleep 600 & echo $! > {started}; wait"]
    text = code.format(folder=str(tmp_path), command=command)
    with subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stdout=subprocess.DEVNULL) as runner:
        try:
            child = int(started.read_text(encoding="ascii"))
            runner.send_signal(number)
            assert runner.wait(60) == 128 + number
        finally:
            runner.kill()
    deadline = time.monotonic() + 30
    while running(child):
        assert time.monotonic() < deadline, "the command's own process outlived it"
        time.sleep(0.01)


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
