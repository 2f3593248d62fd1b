# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""win_ini and win_ini_info in playbooks against the lab, direct and through a management host."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from pathlib import Path

import pytest

from tests.lab.api import HostView, Lab
from tests.support.playbook import Json, Playbooks, Run

if t.TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "C:\\app\\settings.ini"
FILE = b"\r\n; settings\r\n[Db]\r\n  Server = a\r\nPassword=old-secret\n\r\n[Log]\r\nLevel=info"
# The inventory names the second hop for the role; the modules take it as options.
DEFAULTS = """\
  module_defaults:
    group/msexchange.winsock_proxy.target:
      computer: "{{ publish_computer | default(omit) }}"
      computer_username: "{{ publish_computer_username | default(omit) }}"
      computer_password: "{{ publish_computer_password | default(omit) }}"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("demo", directory=tmp_path_factory.mktemp("lab")) as running:
        yield running
        assert running.mistakes == []


@pytest.fixture
def playbooks(lab: Lab, tmp_path: Path) -> Playbooks:
    return Playbooks(lab.inventory, tmp_path)


@pytest.fixture(params=["EX1", "EX4"], ids=["computer", "direct"])
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[HostView]:
    view = lab.host(request.param)
    view.write(PATH, FILE)
    yield view
    lab.clear(request.param)
    for path in view.files():
        if path.lower().startswith("c:\\app"):
            view.remove(path)


def play(playbooks: Playbooks, host: HostView, *tasks: Json, arguments: tuple[str, ...] = ()) -> Run:
    """Run tasks, each ``{module: options}``, on one host; a failed one does not end the play."""
    rows = [
        {"name": f"Task {number}", "ignore_errors": True}
        | {
            (f"msexchange.winsock_proxy.{name}" if name.startswith("win_ini") else name): value
            for name, value in task.items()
        }
        for number, task in enumerate(tasks, 1)
    ]
    head = f"- name: Test\n  hosts: {host.machine.name.lower()}\n  gather_facts: false\n"
    text = f"{head}{DEFAULTS}  tasks: {json.dumps(rows)}\n"
    return playbooks.run(playbooks.write("play.yml", text), *arguments)


def results(run: Run, host: HostView) -> list[Json]:
    rows = run.of(host.machine.name.lower())
    found = [{**entry.result, "failed": entry.outcome in ("failed", "ignored")} for entry in rows]
    assert found, run.output
    return found


def test_set_read_and_set_again(playbooks: Playbooks, host: HostView) -> None:
    wish = {"path": PATH, "sections": {"DB": {"server": "b", "Port": 1}, "New": {"k": " v "}}, "backup": True}
    info = {"path": "c:/app/settings.ini", "redact": ["password"]}
    run = play(playbooks, host, {"win_ini": wish}, {"win_ini_info": info}, {"win_ini": wish})
    first, read, again = results(run, host)
    expected = FILE.replace(b"  Server = a", b"  Server = b").replace(b"old-secret\n", b"old-secret\nPort=1\n")
    assert host.file(PATH) == expected + b'\r\n[New]\r\nk=" v "'
    assert first["changed"] and not again["changed"] and again["executions"] == 1 and first["executions"] == 2
    assert host.file(first["backup_file"]) == FILE
    assert first["backup_file"].startswith(f"{PATH}.")
    assert read["content"] == {
        "Db": {"Server": "b", "Password": "<hidden>", "Port": "1"},
        "Log": {"Level": "info"},
        "New": {"k": " v "},
    }
    assert run.changed(host.machine.name.lower()) == 1


def test_executions_counted_on_the_wire(lab: Lab, playbooks: Playbooks, host: HostView) -> None:
    server = "MGMT1" if host.machine.name == "EX1" else "EX4"
    before = lab.host(server).counters.executions
    play(playbooks, host, {"win_ini": {"path": PATH, "sections": {"Db": {"Server": "a"}}}})
    assert lab.host(server).counters.executions - before == 1
    many = {f"S{number}": {f"k{key}": key for key in range(20)} for number in range(10)}
    play(playbooks, host, {"win_ini": {"path": PATH, "sections": many}})
    assert lab.host(server).counters.executions - before == 3


def test_check_and_diff_predict_and_hide(playbooks: Playbooks, host: HostView) -> None:
    wish = {"path": PATH, "sections": {"Db": {"Server": "b", "Password": "new-secret"}}, "redact": ["pass*"]}
    run = play(playbooks, host, {"win_ini": wish}, arguments=("--check", "--diff", "-v"))
    (result,) = results(run, host)
    assert result["changed"] and host.file(PATH) == FILE
    assert "-  Server = a" in run.output and "+  Server = b" in run.output
    assert "+Password=<hidden, changed>" in run.output
    assert "secret" not in run.output


def test_a_variable_that_is_missing_leaves_a_key_alone_and_null_is_refused(
    playbooks: Playbooks, host: HostView
) -> None:
    left = {"Server": "{{ nowhere | default(omit) }}", "Port": "{{ 7 | string }}"}
    kept, none, removed = results(
        play(
            playbooks,
            host,
            {"win_ini": {"path": PATH, "sections": {"Db": left}}},
            {"win_ini": {"path": PATH, "sections": {"Db": {"Server": None}}}},
            {"win_ini": {"path": PATH, "absent_keys": {"Db": ["Server"]}}},
        ),
        host,
    )
    assert [row["key"] for row in kept["changes"]] == ["Port"]
    assert none["failed"] and "absent_keys" in none["msg"] and "default(omit)" in none["msg"]
    assert [(row["key"], row["action"]) for row in removed["changes"]] == [("Server", "removed")]
    assert b"Server" not in (host.file(PATH) or b"") and b"Port=7" in (host.file(PATH) or b"")


def test_what_yaml_makes_of_values_is_told_in_the_users_words(playbooks: Playbooks, host: HostView) -> None:
    wishes: list[t.Any] = [1.5, True, ["x", 2.5], {"x": 1}, "abc\u0416"]
    run = play(playbooks, host, *({"win_ini": {"path": PATH, "sections": {"Db": {"Server": wish}}}} for wish in wishes))
    told = [result["msg"] for result in results(run, host)]
    for words, message in zip(
        ("a decimal number", "a boolean", "a decimal number", "a dictionary", "abc\u0416"),
        told,
        strict=True,
    ):
        assert words in message and "_Ansible" not in message and "Traceback" not in message
    assert host.file(PATH) == FILE


def test_hidden_values_are_in_no_output_however_much_is_asked_for(playbooks: Playbooks, host: HostView) -> None:
    """What the collection itself says; Ansible prints the arguments of a task, so the value comes from the file."""
    host.write(PATH, FILE + b"\r\n; password: old-secret\r\n=old-secret\r\n[password=old-secret]\r\n")
    redact = ["*password*"]
    run = play(
        playbooks,
        host,
        {"win_ini": {"path": PATH, "sections": {"Db": {"Server": "b"}}, "redact": redact, "exclusive": "sections"}},
        {"win_ini_info": {"path": PATH, "redact": redact}},
        arguments=("--diff", "-vvv"),
    )
    assert [result["failed"] for result in results(run, host)] == [False, False], run.output
    assert "<hidden>" in run.output and "secret" not in run.output


def test_a_file_of_another_encoding_is_left_alone(playbooks: Playbooks, host: HostView) -> None:
    data = "[Db]\r\nServer=a\r\n".encode("utf-16-le")
    host.write(PATH, data)
    wish = {"path": PATH, "sections": {"Db": {"Server": "b"}}}
    refused, read, named = results(
        play(
            playbooks,
            host,
            {"win_ini": wish},
            {"win_ini_info": {"path": PATH}},
            {"win_ini": {**wish, "encoding": "utf-16-le"}},
        ),
        host,
    )
    assert refused["failed"] and "utf-16-le" in refused["msg"] and not read["failed"]
    assert [row["code"] for row in read["findings"]] == ["encoding_utf_16_unmarked"]
    assert named["changed"] and host.file(PATH) == data.replace(b"a\0\r", b"b\0\r")


def test_a_new_file_and_a_variable_in_the_path(playbooks: Playbooks, host: HostView) -> None:
    wish = {"path": "%SystemDrive%\\app\\new.ini", "sections": {"S": {"a": "1"}}, "encoding": "utf-16-le"}
    (result,) = results(play(playbooks, host, {"win_ini": wish}), host)
    assert result["created"] and result["path"].lower() == "c:\\app\\new.ini"
    assert host.file("C:\\app\\new.ini") == b"\xff\xfe" + "[S]\r\na=1\r\n".encode("utf-16-le")


WISH: Json = {"path": PATH, "sections": {"Db": {"Server": "b"}}}
HELD, KEPT, SECRET = "C:\\app\\held.ini", "C:\\app\\kept.ini", "C:\\app\\secret.ini"
# What the task asks for besides WISH, and a word that only the message of this cause has.
CAUSES: list[tuple[Json, str]] = [
    ({"path": HELD}, "another program holds"),
    ({"path": KEPT}, "read-only attribute"),
    ({"path": SECRET}, "was denied"),
    ({"path": "C:\\app"}, "is a directory"),
    ({"path": "C:\\nowhere\\a.ini"}, "the directory of"),
    ({"path": "C:\\app\\none.ini", "create": False}, "option create"),
    ({"path": "C:\\app\\a?.ini"}, "no absolute Windows path"),
    ({"expect_sha256": "0" * 64}, "option expect_sha256"),
    ({"sections": {"Db": {"Server": "b\n"}}}, "U+000A"),
]


def intact(host: HostView, before: dict[str, bytes]) -> bool:
    """Whether every file is as before, and no temporary file was left."""
    after = {path: data for path, data in host.files().items() if path.lower().startswith("c:\\app")}
    return after == {path: data for path, data in before.items() if path.lower().startswith("c:\\app")}


def test_each_cause_has_its_own_message_and_the_file_is_intact(lab: Lab, playbooks: Playbooks, host: HostView) -> None:
    for path in (HELD, KEPT, SECRET):
        host.write(path, FILE)
    for fault, path in (("lock_file", HELD), ("read_only", KEPT), ("deny_path", SECRET)):
        lab.inject(fault, host.machine.name, path=path)
    before = host.files()
    run = play(playbooks, host, *({"win_ini": {**WISH, **options}} for options, dummy in CAUSES))
    for result, (options, words) in zip(results(run, host), CAUSES, strict=True):
        assert result["failed"] and not result["changed"], options
        assert words in result["msg"]
        assert result["msg"].startswith(f"{host.machine.name.lower()}: ")
        assert result["problems"][0]["remedy"] in result["msg"]
        others = [other for dummy, other in CAUSES if other != words]
        assert not any(other in result["msg"] for other in others)
    assert intact(host, before)


@pytest.mark.parametrize(
    ("fault", "options", "code", "words"),
    [
        ("lock_file", {"mode": "read"}, "locked", "another program holds"),
        ("deny_path", {"at": "apply.compared"}, "access_denied", "was denied"),
    ],
)
def test_what_fails_only_while_writing_reports_the_file_that_is_there(
    lab: Lab, playbooks: Playbooks, host: HostView, fault: str, options: Json, code: str, words: str
) -> None:
    """The file can be read, and somebody keeps it from being written."""
    lab.inject(fault, host.machine.name, path=PATH, **options)
    run = play(playbooks, host, {"win_ini": WISH}, arguments=("--diff",))
    (result,) = results(run, host)
    assert result["failed"] and result["executions"] == 2
    assert result["error"]["code"] == code and words in result["msg"]
    assert (result["changed"], result["created"], result["changes"]) == (False, False, [])
    assert result["sha256"] == result["sha256_before"] == hashlib.sha256(FILE).hexdigest()
    assert "+  Server = b" not in run.output
    lab.clear(host.machine.name)
    assert host.file(PATH) == FILE
    assert not [path for path in host.files() if path.lower().startswith(f"{PATH}.".lower())]


def test_a_full_disk_leaves_the_old_file(lab: Lab, playbooks: Playbooks, host: HostView) -> None:
    """Room for the run's lock, and for the backup or not, and never for the new file."""
    host.write(PATH, FILE + b"\r\n;" + b"x" * 20_000)
    before = host.files()
    longer = {**WISH, "sections": {"Db": {"Server": "b" * 5000}}}
    for backup, free, code, path in (
        (False, 2000, "disk_full", ""),
        (True, 22_000, "disk_full", ""),
        (True, 2000, "backup_failed", ".bak"),
    ):
        lab.inject("fill_disk", host.machine.name, free=free)
        (result,) = results(play(playbooks, host, {"win_ini": {**longer, "backup": backup}}), host)
        assert result["failed"] and not result["changed"]
        assert result["error"]["code"] == code
        assert result["error"]["detail"]["path"].startswith(PATH) and result["error"]["detail"]["path"].endswith(path)
        assert "disk" in result["msg"] and "full" in result["msg"]
        copies = [name for name in host.files() if name.startswith(f"{PATH}.")]
        assert [host.file(name) for name in copies] == [before[PATH]] * (backup and code == "disk_full")
        for name in copies:
            host.remove(name)
        assert intact(host, before)


def test_somebody_writes_between_reading_and_writing(lab: Lab, playbooks: Playbooks, host: HostView) -> None:
    theirs = "[Db]\r\nServer=theirs\r\n"
    lab.inject("write_file", host.machine.name, at="apply.begin", path=PATH, text=theirs)
    wish = {"path": PATH, "sections": {"Db": {"Server": "b"}}}
    first, second = results(play(playbooks, host, {"win_ini": wish}, {"win_ini": wish}), host)
    assert first["failed"] and first["error"]["code"] == "changed"
    assert second["changed"]
    assert host.file(PATH) == b"[Db]\r\nServer=b\r\n"


@pytest.mark.parametrize(
    "point",
    ["apply.begin", "apply.compared", "apply.backed_up", "apply.file1.before", "apply.file1.after", "apply.end"],
)
def test_a_connection_lost_while_writing_is_followed_up(
    lab: Lab, playbooks: Playbooks, host: HostView, point: str
) -> None:
    lab.inject("drop_here", host.machine.name, at=point)
    wish = {"path": PATH, "sections": {"Db": {"Server": "b"}}, "backup": True}
    first, second = results(play(playbooks, host, {"win_ini": wish}, {"win_ini": wish}), host)
    assert first["changed"] and not first["failed"]
    assert not second["changed"]
    assert host.file(PATH) == FILE.replace(b"Server = a", b"Server = b")
    assert host.file(first["backup_file"]) == FILE


def test_files_over_one_megabyte_are_refused_and_files_below_are_not(playbooks: Playbooks, host: HostView) -> None:
    host.write(PATH, b"[S]\r\n" + b";" * (1024 * 1024 - 100) + b"\r\na=1\r\n")
    host.write("C:\\app\\large.ini", b"[S]\r\n" + b";" * (1024 * 1024))
    wish = {"sections": {"S": {"a": "2"}}}
    fits, large = results(
        play(playbooks, host, {"win_ini": {"path": PATH, **wish}}, {"win_ini": {"path": "C:\\app\\large.ini", **wish}}),
        host,
    )
    assert fits["changed"] and (host.file(PATH) or b"").endswith(b";\r\na=2\r\n")
    assert large["failed"] and large["problems"][0]["code"] == "too_large"
    assert "1048576" in large["msg"]


OLD_RUN = "0f3c1a52-0000"


def _cut(host: HostView, torn: bytes | None, new: bytes) -> str:
    """A run died while it wrote the file; the name of what it left."""
    host.remove(PATH)
    if torn is None:
        host.write(f"{PATH}.{OLD_RUN}.tmp~", FILE)
        return f"{PATH}.{OLD_RUN}.tmp~"
    hashes = [hashlib.sha256(data).hexdigest() for data in (FILE, new)]
    line = f"{hashes[0]}|{len(FILE)}|{hashes[1]}|{len(new)}|{base64.b64encode(FILE).decode()}"
    host.write(PATH, torn)
    host.write(f"{PATH}.{OLD_RUN}.was", line.encode())
    return f"{PATH}.{OLD_RUN}.was"


@pytest.mark.parametrize("torn", [None, FILE[:30] + b"x" * (len(FILE) - 30)], ids=["without its name", "half written"])
def test_what_a_dead_run_left_is_mended_first_and_planned_from(
    playbooks: Playbooks, host: HostView, torn: bytes | None
) -> None:
    left = _cut(host, torn, FILE + b"\r\n")
    same = {"path": PATH, "sections": {"Log": {"Level": "info"}}}
    (seen,) = results(play(playbooks, host, {"win_ini": same}, arguments=("--check",)), host)
    assert seen["changed"] and not seen["failed"] and seen["changes"] == [] and seen["healed"] == [PATH]
    assert seen["sha256"] == hashlib.sha256(FILE).hexdigest()
    assert "a run died while it wrote this file" in " ".join(seen["warnings"])
    assert host.file(left) is not None and host.file(PATH) == torn, "check mode mends nothing"
    first, again = results(play(playbooks, host, {"win_ini": same}, {"win_ini": same}), host)
    assert first["changed"] and first["healed"] == [PATH] and first["left"] == [] and not first["failed"]
    assert host.file(PATH) == FILE and host.file(left) is None
    assert not again["changed"] and again["healed"] == []


def test_what_only_apply_can_mend_is_planned_anew(playbooks: Playbooks, host: HostView) -> None:
    """The record of the cut write is damaged; the old text comes from the server's store."""
    left = _cut(host, FILE[:30] + b"x" * (len(FILE) - 30), FILE + b"\r\n")
    whole = host.file(left) or b""
    host.write(left, whole[:-8])
    store = f"{host.machine.system_root}\\msexchange.winsock_proxy\\backup\\{hashlib.sha256(FILE).hexdigest()}.ini"
    host.write(store, FILE)
    (done,) = results(play(playbooks, host, {"win_ini": {"path": PATH, "sections": {"Log": {"Level": "debug"}}}}), host)
    assert done["changed"] and not done["failed"] and done["healed"] == [PATH]
    assert host.file(PATH) == FILE.replace(b"Level=info", b"Level=debug") and host.file(left) is None
    host.remove(store)
