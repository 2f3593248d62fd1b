# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's way to a real PowerShell, with programs of this test in its place.

This proves what is sent to PowerShell, prepare and observe, and how their output is judged: nothing about PowerShell.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conformance.run import main

# Takes what WinRM would start and send; answers with the request, so that the test sees what arrived.
PWSH = """
import base64, json, sys
words = sys.argv[1:]
command = base64.b64decode(words[words.index("-EncodedCommand") + 1]).decode("utf-16-le")
nonce = sys.stdin.readline().strip()
sent = json.loads(sys.stdin.readline())
assert "[scriptblock]::Create" in command and sent["script"].startswith("param($Request,$Text,$Nonce,$Secret)")
answer = {**sent["request"], "clock": {"now": 1.5, "utc_offset_minutes": 0}, "machine": {
    "name": "M", "powershell": "7", "os": "x", "system_root": "C:\\\\Windows"}}
with open("requests.jsonl", "a") as log:
    print(json.dumps(sent["request"]), file=log)
print("a profile's greeting")
begin, end = (f"---msexchange.winsock_proxy {word} {nonce}---" for word in ("begin", "end"))
print(begin, json.dumps(answer), end, sep="\\n")
"""
PREPARE = """
import json, sys
state = json.load(sys.stdin)
with open("prepared.jsonl", "a") as log:
    print(json.dumps(state), file=log)
sys.exit(STATUS)
"""
OBSERVE = """
import json, sys
asked = json.load(sys.stdin)
print(json.dumps({"files": FILES, "services": {}, "registry": {}, "records": {}, "journal": None, "locked": False}))
"""


def run(
    folder: Path, only: str, *, status: int = 0, files: str = "{}", more: tuple[str, ...] = (), prepare: str = PREPARE
) -> int:
    """Run the chosen cases with this test's own programs in ``folder``."""
    programs = {
        "pwsh": PWSH,
        "prepare": prepare.replace("STATUS", str(status)),
        "observe": OBSERVE.replace("FILES", files),
    }
    arguments = ["--executor", "pwsh", "--only", only, "--work", str(folder), *more]
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
        arguments += [f"--{name}", f"{sys.executable} {name}.py"]
    return main(arguments)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_case_that_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "^request-answer-head$") == 0
    assert "ok       request-answer-head [direct]" in capsys.readouterr().out
    (prepared,) = lines(tmp_path / "prepared.jsonl")
    assert (prepared["mode"], prepared["change"], prepared["given"]) == ("direct", False, {})


def test_computer_mode_needs_a_computer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "^request-answer-head$") == 0
    assert "1 passed, 0 failed, 1 not run" in capsys.readouterr().out
    assert run(tmp_path, "^request-answer-head$", more=("--computer", "REAL1")) == 0
    assert "2 passed, 0 failed, 0 not run" in capsys.readouterr().out
    assert [request["computer"] for request in lines(tmp_path / "requests.jsonl")] == [None, None, "REAL1"]


def test_a_case_that_needs_real_windows_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "^computer-down$", more=("--computer", "REAL1")) == 0
    assert "0 passed, 0 failed, 1 not run" in capsys.readouterr().out


def test_what_prepare_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    child = "import os, signal; open('child', 'w').write(str(os.getpid())); signal.pause()"
    script = f"""
        import os, subprocess, sys
        sys.stdin.read()
        subprocess.Popen([sys.executable, "-c", {child!r}], stdin=subprocess.DEVNULL)
        while not os.path.exists("child") or not open("child").read():
            pass
    """
    try:
        assert run(tmp_path, "^request-answer-head$", prepare=script) == 0
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_what_is_no_unicode_on_standard_error_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare = "import os\nos.write(2, b'na\\x81w')\nraise SystemExit(77)\n"
    assert run(tmp_path, "^request-answer-head$", prepare=prepare) == 0
    assert "not run  request-answer-head [direct]: na\ufffdw" in capsys.readouterr().out


def test_a_case_that_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "^request-key-missing$") == 1
    assert "FAIL     request-key-missing [direct]\n    steps[1].answer.error: missing" in capsys.readouterr().out


def test_an_operation_that_does_not_exist_is_sent_all_the_same(tmp_path: Path) -> None:
    run(tmp_path, "^request-op-unknown$")
    assert [request["op"] for request in lines(tmp_path / "requests.jsonl")] == ["reboot"]


def test_a_state_that_cannot_be_brought_about_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "^request-answer-head$", status=77) == 0
    assert "0 passed, 0 failed, 2 not run" in capsys.readouterr().out
    assert not (tmp_path / "requests.jsonl").exists()


def test_a_prepare_that_fails_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "^request-answer-head$", status=3) == 1
    assert "exit status 3" in capsys.readouterr().out


def test_what_others_do_between_steps_is_prepared_between_them(tmp_path: Path) -> None:
    run(tmp_path, "^apply-writer-between$")
    assert [state["change"] for state in lines(tmp_path / "prepared.jsonl")] == [False, True]


def test_the_observed_state_counts_not_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "^restart-nothing-asked$", files="{}") == 1
    assert run(tmp_path, "^apply-parent-missing$", files='{"C:/x": {"base64": ""}}'.replace("/", "\\\\\\\\")) == 1
    assert "then.files" not in capsys.readouterr().out
    there = json.dumps({"C:\\exchsrvr\\bin\\Wspcfg.ini": {"base64": ""}})
    assert run(tmp_path, "^apply-parent-missing$", files=there) == 1
    assert "Wspcfg.ini: is there" in capsys.readouterr().out


def test_missing_commands_are_named() -> None:
    with pytest.raises(SystemExit, match="--pwsh, --prepare, --observe"):
        main(["--executor", "pwsh"])


def test_the_lab_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "^request-"]) == 0
    assert " 0 failed" in capsys.readouterr().out
