# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lane works out before it touches a machine, and how it gives up on one; no Windows is needed for this."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import threading
import time
import typing as t
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.script import source
from tests.conformance.schema import Case, load_all
from tests.support.calls import Done, Hung, call
from tests.windows import __main__ as program
from tests.windows import lane, machine, measure, mutants, orders, powershell, programs, report
from tests.windows.orders import About, Cannot
from tests.windows.report import Result

ABOUT = About(True, "C:\\windows", "BOX", "Z:\\service.exe", {"C": "NTFS", "D": "FAT"})


def verbs(given: dict[str, t.Any], about: About = ABOUT) -> list[str]:
    return [order[0] for order in orders.state(given, about, "token")]


# --- orders ---


@pytest.mark.parametrize(
    ("image", "path"),
    [
        (r"C:\exchsrvr\bin\store.exe", r"C:\exchsrvr\bin\store.exe"),
        (r'"C:\Program Files\exchsrvr\bin\kms.exe" -p secret', r"C:\Program Files\exchsrvr\bin\kms.exe"),
        (r"C:\exchsrvr\bin\kms.exe secret", r"C:\exchsrvr\bin\kms.exe"),
        (r"C:\a.exe.d\b.exe", r"C:\a.exe.d\b.exe"),
        (r"%SystemRoot%\x.exe", r"C:\windows\x.exe"),
        (r"\SystemRoot\x.exe", r"C:\windows\x.exe"),
        (r"system32\x.exe", r"C:\windows\system32\x.exe"),
        (r"\??\C:\x.exe", r"C:\x.exe"),
        (r"\elsewhere\share\store.exe", None),
        ("", None),
    ],
)
def test_where_the_program_of_a_service_lies(image: str, path: str | None) -> None:
    assert orders.program_of(image, "C:\\windows") == path


def test_a_service_runs_before_it_is_configured() -> None:
    service = {"name": "S", "image": "C:\\exchsrvr\\s.exe", "start_type": "disabled", "depends_on": ["T"]}
    made = verbs({"services": [service]})
    assert made.index("copy") < made.index("service-create") < made.index("service-start")
    assert made.index("service-start") < made.index("service-config") < len(made) - 1


def test_two_services_of_one_program_have_it_once() -> None:
    image = "C:\\exchsrvr\\shared.exe"
    assert verbs({"services": [{"name": "A", "image": image}, {"name": "B", "image": image}]}).count("copy") == 1


def test_a_program_that_cannot_be_started_again_is_gone_once_it_runs() -> None:
    service = {"name": "S", "image": "C:\\exchsrvr\\s.exe", "behaviour": {"start": "refuse", "code": 2}}
    made = verbs({"services": [service]})
    assert made.index("service-start") < made.index("move")
    assert "copy" not in verbs({"services": [{**service, "state": "stopped"}]})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"disk_free": 5}, "disk"),
        ({"network": {"down": True}}, "network of Windows machines"),
        ({"drives": {"D": "NTFS"}}, "is no NTFS"),
        ({"drives": {"E": "NTFS"}}, "is no NTFS"),
        ({"files": {"Q:\\x.ini": {"text": ""}}}, "no drive Q:"),
        ({"events": [{}]}, "no event log"),
        ({"event_errors": {"System": "unreadable"}}, "can be read"),
        ({"services": [{"name": "S", "behaviour": {"stop": "refuse", "code": 5}}]}, "drops it"),
        ({"services": [{"name": "S", "behaviour": {"start": "refuse", "code": 1069}}]}, "not with 1069"),
        ({"services": [{"name": "S", "type": 1, "image": "C:\\x.sys"}]}, "driver"),
        ({"services": [{"name": "S", "image": "\\\\there\\s.exe"}]}, "does not run"),
        ({"weather": "fine"}, "nobody has said how"),
    ],
)
def test_a_state_that_cannot_be_reached_says_why(given: dict[str, t.Any], reason: str) -> None:
    with pytest.raises(Cannot, match=reason):
        verbs(given)


def test_a_refused_stop_can_be_had_on_windows_itself() -> None:
    windows = About(False, "C:\\Windows", "BOX", "C:\\service.exe", {"C": "NTFS"})
    assert "service-start" in verbs(
        {"services": [{"name": "S", "image": "C:\\exchsrvr\\s.exe", "behaviour": {"stop": "refuse", "code": 5}}]},
        windows,
    )


def test_nothing_that_windows_has_itself_is_taken_away() -> None:
    everything = orders.named(load_all())
    lower = [path.lower() for path in everything.directories]
    assert "c:\\exchsrvr" in lower
    for path in lower:
        assert path.count("\\") >= 1 and len(path) > 3
        assert not (path + "\\").startswith("c:\\windows\\")
        assert path not in (
            "c:\\program files",
            "c:\\program files (x86)",
            "c:\\users",
            "c:\\programdata",
        )
    for key in everything.keys:
        assert key.lower().startswith("software\\") and key.lower() not in ("software\\microsoft", "software\\classes")


def test_orders_survive_the_way() -> None:
    sent = orders.encode([("file", "C:\\büro\\x y.ini", "", "0", "1")])
    assert orders.decode(sent) == [["file", "C:\\büro\\x y.ini", "", "0", "1"]]


@pytest.mark.parametrize("data", ["text", 7, ["a", "b"], [], ""])
def test_registry_values_come_back_as_they_were(data: t.Any) -> None:
    assert orders.data_of(*orders.value(data)) == data


def test_binary_data_is_base64() -> None:
    text = base64.b64encode(b"\0\1").decode()
    assert orders.data_of(*orders.value(text, "binary")) == text


def test_the_programs_of_services_are_none_of_a_cases_files() -> None:
    kind, raw = orders.value("C:\\exchsrvr\\bin\\store.exe")
    answers = [
        ["file", "C:\\exchsrvr\\bin\\STORE.EXE", "32", "0", "4d5a"],
        ["file", "C:\\exchsrvr\\bin\\Wspcfg.ini", "33", "0", "41"],
        ["value", orders.IMAGES, "S", str(kind), raw.hex()],
        ["state", "S", "4", "7"],
        ["state", "Gone", "0", "0"],
        ["locked", "C:\\windows\\x.lock", "1"],
    ]
    seen = orders.observed(answers, {})
    assert list(seen["files"]) == ["C:\\exchsrvr\\bin\\Wspcfg.ini"]
    assert seen["files"]["C:\\exchsrvr\\bin\\Wspcfg.ini"] == {"base64": "QQ==", "read_only": True}
    assert (seen["services"], seen["locked"]) == ({"S": "running"}, True)


# --- ports ---


def test_ports_are_replaced_everywhere_and_by_free_ones() -> None:
    case = Case(
        "x",
        {
            "given": {"ports": {"2110": {"greeting": "+OK"}, 2389: None}},
            "steps": [
                {"request": {"ports": [{"port": 2110}]}, "answer": {"ports": [{"port": 2110, "connected": True}]}}
            ],
        },
    )
    freed = lane.with_free_ports(case)
    first, second = freed.data["given"]["ports"]
    assert freed.data["steps"][0]["request"]["ports"][0]["port"] == first
    assert freed.data["steps"][0]["answer"]["ports"][0] == {"port": first, "connected": True}
    assert {first, second}.isdisjoint({2110, 2389}) and first != second


def test_a_port_that_is_none_stays_what_it_is() -> None:
    case = Case("x", {"steps": [{"request": {"ports": "none"}, "answer": {}}, {"request": {"ports": [{"port": "x"}]}}]})
    assert lane.with_free_ports(case).data == case.data


# --- what hangs ---


def test_what_hangs_is_ended_with_everything_that_it_started(tmp_path: Path) -> None:
    child = "import os, signal; open('child', 'w').write(str(os.getpid())); signal.pause()"
    script = f"""
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
while not os.path.exists("child") or not open("child").read():
    pass
print("the last word", flush=True)
signal.pause()
"""
    with pytest.raises(Hung, match="the last word"):
        call([sys.executable, "-c", script], b"", seconds=5, environment=os.environ, cwd=tmp_path)
    with pytest.raises(ProcessLookupError):
        _wait_for_the_end(int((tmp_path / "child").read_text()))


def _wait_for_the_end(pid: int) -> None:
    """Until the system has let go of a process that was killed."""
    for dummy in range(500):
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError
        time.sleep(0.01)


# --- what is missing ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of its own for what is made of PowerShell, and a launcher that needs no compiler."""
    launcher = tmp_path / "launcher.exe"
    launcher.write_bytes(b"the launcher")
    monkeypatch.setattr(powershell, "BUILD", tmp_path / "build")
    monkeypatch.setattr(programs, "build", lambda name: launcher)
    yield tmp_path


def published(folder: Path) -> Path:
    """What a release of PowerShell for Windows looks like, as far as it matters."""
    (folder / "Modules" / "CimCmdlets").mkdir(parents=True)
    (folder / "Modules" / "CimCmdlets" / "CimCmdlets.psd1").touch()
    (folder / "pwsh.exe").touch()
    (folder / "pwsh.runtimeconfig.json").write_text(json.dumps({"runtimeOptions": {"tfm": "net10.0"}}))
    return folder


def test_a_published_zip_is_made_fit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, archive = published(home / "source"), home / "PowerShell.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in source.rglob("*"):
            zipped.write(path, path.relative_to(source))
    monkeypatch.setenv(powershell.VARIABLE, str(archive))
    made = powershell.prepared()
    settings = json.loads((made / "pwsh.runtimeconfig.json").read_text())
    assert settings["runtimeOptions"]["configProperties"] == {powershell.REFLECTION: True}
    assert not (made / "Modules" / "CimCmdlets").exists()
    assert (made / "powershell.exe").read_bytes() == b"the launcher"
    assert powershell.prepared() == made


def test_gates_side_by_side_make_one_and_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(powershell.VARIABLE, str(published(home / "source")))
    together = threading.Barrier(4)

    def make(_number: int) -> Path:
        together.wait()
        return powershell.prepared()

    with ThreadPoolExecutor(4) as pool:
        (made,) = set(pool.map(make, range(4)))
    assert (made / "powershell.exe").exists()


def test_a_folder_stays_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = published(home / "source" / "pwsh")
    monkeypatch.setenv(powershell.VARIABLE, str(home / "source"))
    assert (powershell.prepared() / "powershell.exe").exists()
    assert (source / "Modules" / "CimCmdlets").exists() and not (source / "powershell.exe").exists()


@pytest.mark.parametrize("named", ["", "nowhere", "empty"])
def test_no_powershell_is_said_and_not_counted(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    (home / "empty").mkdir()
    monkeypatch.setenv(powershell.VARIABLE, str(home / named) if named else "")
    monkeypatch.setattr(lane, "BUILD", home / "lane")
    monkeypatch.setattr(lane, "find_wine", lambda: machine.Wine("wine", ("wineserver",)))
    junit = home / "windows.xml"
    assert program.main(["--only", "^request-", "--junit", str(junit)]) == 0
    assert "SKIPPED: the target script was NOT run on a PowerShell: no PowerShell" in capsys.readouterr().out
    (case,) = ElementTree.parse(junit).getroot().iter("testcase")
    assert case.find("skipped") is not None


def test_no_wine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(machine.Unavailable, match="install wine"):
        machine.find_wine()


# --- report ---


def test_the_report_tells_what_proves_nothing(tmp_path: Path) -> None:
    results = [
        Result("a", "direct", "proven", (), 1.0),
        Result("b", "computer", "unproven", ("no <event> log",), 0.0),
        Result("c", "direct", "failed", ("x: expected 1\x1b, found 2",), 2.5),
    ]
    assert report.closing(results) == "1 proven, 1 failed, 1 not provable here (which proves nothing)"
    report.write(results, tmp_path, {"Windows": "Wine"})
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["totals"] == {"proven": 1, "failed": 1, "unproven": 1}
    page = (tmp_path / "report.html").read_text()
    assert page.index(">c<") < page.index(">b<") < page.index(">a<") and "no &lt;event&gt; log" in page
    report.write_junit(results, tmp_path / "windows.xml")
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "windows.xml").getroot()}
    assert [len(case) for case in cases.values()] == [0, 1, 1]
    assert cases["b [computer]"][0].tag == "skipped" and cases["c [direct]"][0].tag == "failure"


def test_the_small_selection_names_cases_that_there_are() -> None:
    known = {case.id: case for case in lane.cases()}
    assert set(program.QUICK) <= set(known)
    assert all("direct" in known[name].modes for name in program.QUICK)
    assert set(lane.TIGHT) | set(lane.HOLLOW) <= set(known)


@pytest.mark.parametrize(
    ("answers", "runs"),
    [
        ([Done(1, b"", b""), Done(0, b"said", b"")], 2),  # it did not come up
        ([Done(1, b"", b"failed 3 copy 5")], 1),  # it said what failed
        ([Done(0, b"", b"")], 1),
        ([Done(1, b"", b"")] * 5, machine.STARTS),
    ],
)
def test_a_program_that_did_not_come_up_is_started_again_and_one_that_spoke_is_not(
    answers: list[Done], runs: int
) -> None:
    left = list(answers)
    done = machine.that_came_up(lambda: left.pop(0))
    assert (len(answers) - len(left), done) == (runs, answers[runs - 1])


def test_what_an_operation_costs_is_judged_by_counts() -> None:
    def costs(few: int | None, many: int | None, sent: int) -> list[measure.Cost]:
        inspect = [
            measure.Cost("inspect", size, 9.9, 1, 1, n) for size, n in zip(measure.SIZES, (few, many), strict=True)
        ]
        return [*inspect, measure.Cost("restart_status", measure.SIZES[0], 9.9, sent, 1, 5)]

    assert measure.problems(costs(43, 338, 10_000)) == measure.problems(costs(None, None, 10_000)) == []
    assert len(measure.problems(costs(99, 984, 10_000))) == 1 and len(measure.problems(costs(43, 338, 39_000))) == 1


def test_each_change_of_the_script_can_be_made_and_names_its_cases() -> None:
    known = {case.id for case in lane.cases()}
    text = source()
    assert len(mutants.MUTANTS) >= 60 and len({mutant.function for mutant in mutants.MUTANTS}) >= 60
    for mutant in mutants.MUTANTS:
        assert mutant.apply(text) != text
        assert mutant.cases and {name.partition("@")[0] for name in mutant.cases} <= known, mutant


def test_the_table_of_changes_is_in_step_with_the_list() -> None:
    assert mutants.TABLE.read_text(encoding="utf-8") == mutants.table(), "python -m tests.windows.mutants --write"


@pytest.mark.parametrize(("old", "function"), [("no such text", "Get-Hash"), ("$", "Get-Hash"), ("$hash", "No-Such")])
def test_a_change_that_cannot_be_made_is_an_error(old: str, function: str) -> None:
    with pytest.raises(ValueError, match="times"):
        mutants.Mutant(function, old, "", ("inspect-file",)).apply(source())


@pytest.mark.parametrize("statuses", [(0, 0), (0, machine.ALREADY_RUNNING)])
def test_the_registry_is_shared_where_it_is_not_yet(statuses: tuple[int, int]) -> None:
    asked: list[tuple[str, ...]] = []

    def run(words: Sequence[str]) -> Done:
        asked.append(tuple(words))
        return Done(statuses[len(asked) - 1], b"", b"")

    machine.share_registry(run)
    assert [words[1] for words in asked] == ["config", "start"] and {words[2] for words in asked} == {"RemoteRegistry"}


def test_a_registry_that_cannot_be_shared_is_said() -> None:
    with pytest.raises(machine.Unavailable, match="5 Access is denied"):
        machine.share_registry(lambda dummy: Done(5, b"Access is denied.", b""))
