# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole win_ini and win_ini_info tasks against one described file: what is sent, what is reported."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import session as target
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import win_ini as task
from tests.support.inspections import sent_in, spoken
from tests.support.options import options_of

Json = dict[str, t.Any]
PATH = "C:\\app\\a.ini"
FILE = b"[Db]\r\nServer=a\r\nPassword=old-secret\r\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Disk:
    """A transport in front of one described file; answers by the letter of docs/target_protocol.md.

    Attributes:
        content: The file, None if it does not exist.
        error: What inspect says about the file.
        refuse: Error with which apply answers.
        requests: What was asked, in order.
        intruder: What somebody else writes between inspect and apply.
    """

    content: bytes | None = FILE
    directory_exists: bool = True
    read_only: bool = False
    error: Json | None = None
    refuse: Json | None = None
    intruder: bytes | None = None
    requests: list[Json] = field(default_factory=list)

    def execute(self, command: str, stdin: str) -> target.Execution:
        nonce, request = sent_in(stdin)
        self.requests.append(request)
        answer = {"version": 1, "op": request["op"], "run": request["run"], "computer": request["computer"]}
        answer |= {"clock": {"now": 1_000_000.5, "utc_offset_minutes": 120}}
        answer |= self._inspect(request) if request["op"] == "inspect" else self._apply(request)
        return spoken(answer, nonce)

    def reset(self) -> None:
        raise AssertionError("no connection is lost here")

    def _inspect(self, request: Json) -> Json:
        (wish,) = request["files"]
        data = None if self.error else self.content
        size = 2_000_000 if self.error else len(data or b"")
        found = {
            "id": wish["id"],
            "path": wish["path"].replace("%SystemRoot%", "C:\\WINNT"),
            "exists": data is not None,
            "lookalikes": [],
        }
        found |= {
            "directory_exists": self.directory_exists,
            "size": size,
            "sha256": sha256(data) if data is not None else None,
        }
        found |= {"content": base64.b64encode(data).decode() if data is not None else None, "error": self.error}
        return {"files": [{**found, "read_only": self.read_only}]}

    def _apply(self, request: Json) -> Json:
        if self.intruder is not None:
            self.content = self.intruder
        (file,) = request["files"]
        now = None if self.content is None else sha256(self.content)
        empty: Json = {"applied": [], "restored": [], "left": []}
        if self.refuse:
            return {**empty, "error": self.refuse}
        if now != file["expect_sha256"]:
            detail = {"path": file["path"], "expected": file["expect_sha256"], "found": now}
            return {**empty, "error": {"code": "changed", "message": "", "detail": detail}}
        self.content = base64.b64decode(file["content"])
        row = {"path": file["path"], "sha256": sha256(self.content), "size": len(self.content), "modified": 1_000_001.0}
        return {**empty, "applied": [{**row, "backup": file["backup_path"]}]}


class Clock:
    """Time that only moves when somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def session(disk: Disk) -> target.Session:
    identity = target.Identity("0123abcd-4567", "admin@controller")
    return target.Session(disk, identity, clock=Clock())


def win_ini(disk: Disk, *, check: bool = False, **options: t.Any) -> Json:
    return task.run(session(disk), options_of("win_ini", **{"path": PATH, **options}), host="EX1", check=check)


def win_ini_info(disk: Disk, **options: t.Any) -> Json:
    return task.read(session(disk), options_of("win_ini_info", **{"path": PATH, **options}), host="EX1")


def ops(disk: Disk) -> list[str]:
    return [request["op"] for request in disk.requests]


def test_no_change_is_one_execution() -> None:
    disk = Disk()
    result = win_ini(disk, sections={"DB": {"server": "a"}})
    assert (result["changed"], result["executions"], ops(disk)) == (False, 1, ["inspect"])
    assert result["sha256"] == result["sha256_before"] == sha256(FILE)
    assert result["diff"]["before"] == result["diff"]["after"]


def test_a_change_is_two_and_swaps_what_was_read() -> None:
    disk = Disk()
    result = win_ini(disk, sections={"Db": {"Server": "b"}})
    assert (result["changed"], result["executions"], ops(disk)) == (True, 2, ["inspect", "apply"])
    (file,) = disk.requests[1]["files"]
    assert file["expect_sha256"] == sha256(FILE)
    assert disk.content == FILE.replace(b"Server=a", b"Server=b")
    assert result["sha256"] == sha256(disk.content)
    assert result["backup_file"] is None
    assert not win_ini(disk, sections={"Db": {"Server": "b"}})["changed"]


@pytest.mark.parametrize("content", [FILE, None])
def test_check_mode_predicts_everything_but_the_backup(content: bytes | None) -> None:
    predicted = win_ini(Disk(content), check=True, sections={"Db": {"Server": "b"}}, backup=True)
    done = win_ini(Disk(content), sections={"Db": {"Server": "b"}}, backup=True)
    different = {key for key in done if done[key] != predicted[key]}
    assert different <= {"executions", "backup_file"}
    assert predicted["changed"] and predicted["executions"] == 1


def test_the_backup_lies_beside_the_file_with_the_servers_time() -> None:
    disk = Disk()
    result = win_ini(disk, sections={"Db": {"Server": "b"}}, backup=True)
    assert result["backup_file"] == "C:\\app\\a.ini.0123abcd.19700112-154640.bak"
    assert disk.requests[1]["files"][0]["backup"] == "beside"


def test_a_new_file_has_no_backup_and_must_not_exist_when_it_is_made() -> None:
    disk = Disk(None)
    result = win_ini(disk, sections={"S": {"a": "1"}}, backup=True)
    assert (result["created"], result["backup_file"], result["sha256_before"]) == (True, None, None)
    assert disk.requests[1]["files"][0]["expect_sha256"] is None
    assert disk.content == b"[S]\r\na=1\r\n"


def test_hidden_values_are_nowhere_in_the_result() -> None:
    disk = Disk()
    result = win_ini(disk, sections={"Db": {"Password": "new-secret"}}, redact=["*password*"])
    assert "secret" not in json.dumps(result)
    assert "<hidden, changed>" in result["diff"]["after"]
    assert "secret" not in json.dumps(win_ini_info(disk, redact=["password"]))
    for broken in ("new-secret\n", "\u0416new-secret"):
        failed = win_ini(disk, sections={"Db": {"Password": broken}}, redact=["*password*"])
        assert failed["failed"] and "secret" not in json.dumps(failed)


def test_a_hidden_value_beside_a_section_name_is_in_no_finding() -> None:
    disk = Disk(b"[Db]\r\nServer=a\r\n[Old] password=secret\r\n[Odd ] ;password=secret\r\n# Password=secret\r\n")
    result = win_ini(disk, sections={"Db": {"Server": "b"}}, redact=["*password"])
    assert [row["code"] for row in result["findings"]] == ["ambiguous_header"] * 2
    assert "secret" not in json.dumps(result)
    assert "secret" not in json.dumps(win_ini_info(disk, redact=["password"]))


def test_somebody_else_wrote_in_between_and_nothing_is_lost() -> None:
    disk = Disk(intruder=b"[Db]\r\nServer=theirs\r\n")
    result = win_ini(disk, sections={"Db": {"Server": "b"}})
    assert result["failed"] and not result["changed"]
    assert result["error"]["code"] == "changed"
    assert "EX1" in result["msg"] and PATH in result["msg"]
    assert disk.content == b"[Db]\r\nServer=theirs\r\n"
    assert result["sha256"] == sha256(disk.content)


def test_expected_hash() -> None:
    disk = Disk()
    result = win_ini(disk, sections={"Db": {"Server": "b"}}, expect_sha256="0" * 64)
    assert result["failed"] and ops(disk) == ["inspect"]
    assert "expect_sha256" in result["msg"] and sha256(FILE) in result["msg"]
    assert win_ini(disk, sections={"Db": {"Server": "b"}}, expect_sha256=sha256(FILE).upper())["changed"]


@pytest.mark.parametrize(
    ("disk", "options", "words"),
    [
        (Disk(None), {"create": False}, ("create", "does not exist")),
        (Disk(None, directory_exists=False), {}, ("directory", "win_file")),
        (Disk(read_only=True), {}, ("read-only", "attrib -r")),
        (Disk(error={"code": "is_directory", "message": "", "detail": {"path": PATH}}), {}, ("is a directory",)),
        (Disk(error={"code": "locked", "message": "", "detail": {"path": PATH}}), {}, ("holds", "open")),
        (Disk(error={"code": "access_denied", "message": "", "detail": {"path": PATH}}), {}, ("denied",)),
        (
            Disk(error={"code": "too_large", "message": "", "detail": {"path": PATH}}),
            {},
            ("2000000", "1048576", "no INI file"),
        ),
        (Disk(error={"code": "bad_name", "message": "", "detail": {"path": PATH}}), {}, ("does not accept",)),
        (Disk(refuse={"code": "disk_full", "message": "", "detail": {"path": PATH}}), {}, ("full", "old file")),
        (
            Disk(refuse={"code": "backup_failed", "message": "", "detail": {"path": f"{PATH}.bak", "native": 112}}),
            {"backup": True},
            (f"{PATH}.bak", "the disk is full"),
        ),
        (Disk(refuse={"code": "busy", "message": "", "detail": {"who": "x@y", "run": "r"}}), {}, ("x@y", "lock_wait")),
    ],
)
def test_errors_name_host_path_cause_and_remedy(disk: Disk, options: Json, words: tuple[str, ...]) -> None:
    before = disk.content
    result = win_ini(disk, sections={"Db": {"Server": "b"}}, **options)
    assert result["failed"] and not result["changed"]
    assert result["msg"].startswith("EX1: ")
    assert "Wspcfg" not in result["msg"] and "bin_dir" not in result["msg"]
    for word in words:
        assert word in result["msg"]
    assert result["problems"][0]["remedy"] in result["msg"]
    assert disk.content == before


def test_a_read_only_file_that_needs_no_change_is_no_failure() -> None:
    result = win_ini(Disk(read_only=True), sections={"Db": {"Server": "a"}})
    assert "failed" not in result and not result["changed"]


def test_failures_have_the_keys_of_successes() -> None:
    success = win_ini(Disk(), sections={"Db": {"Server": "b"}})
    for failure in (
        win_ini(Disk(), path="a.ini", sections={"S": {}}),
        win_ini(Disk(error={"code": "locked", "message": "", "detail": {}}), sections={"S": {}}),
        win_ini(Disk(refuse={"code": "locked", "message": "", "detail": {}}), sections={"S": {}}),
    ):
        assert set(success) - set(failure) <= {"diff"}
        assert failure["failed"]
    for failure in (win_ini_info(Disk(), path="a.ini"), win_ini_info(Disk(error={"code": "locked", "detail": {}}))):
        assert set(win_ini_info(Disk())) <= set(failure)


@pytest.mark.parametrize("content", [FILE, None])
@pytest.mark.parametrize("code", ["locked", "read_only", "disk_full", "access_denied", "busy"])
def test_a_failure_reports_the_file_that_is_there(content: bytes | None, code: str) -> None:
    disk = Disk(content, refuse={"code": code, "message": "", "detail": {"path": PATH}})
    result = win_ini(disk, sections={"Db": {"Server": "b"}}, encoding="cp1251", backup=True)
    assert result["failed"] and disk.content == content
    assert (result["changed"], result["created"], result["changes"]) == (False, False, [])
    assert "diff" not in result and result["backup_file"] is None
    assert result["sha256"] == result["sha256_before"] == (sha256(content) if content else None)
    assert (result["encoding"], result["newline"]) == (("cp1251", "crlf") if content else (None, None))


def test_a_refusal_reports_the_file_that_is_there() -> None:
    result = win_ini(Disk(read_only=True), sections={"Db": {"Server": "b"}})
    assert (result["created"], result["changes"], result["sha256"]) == (False, [], sha256(FILE))
    assert "diff" not in result


def test_after_an_answer_that_makes_no_sense_nobody_knows_the_file() -> None:
    class Mumbling(Disk):
        def execute(self, command: str, stdin: str) -> target.Execution:
            answer = super().execute(command, stdin)
            return answer if self.requests[-1]["op"] == "inspect" else target.Execution(1, "", "killed")

    result = win_ini(Mumbling(), sections={"Db": {"Server": "b"}})
    assert result["failed"] and result["sha256"] is None and result["sha256_before"] == sha256(FILE)


def test_what_was_left_behind_counts_as_changed() -> None:
    class HalfDone(Disk):
        def _apply(self, request: Json) -> Json:
            error = {"code": "disk_full", "message": "", "detail": {"path": PATH}}
            return {"applied": [], "restored": [], "left": [PATH], "error": error}

    result = win_ini(HalfDone(), sections={"Db": {"Server": "b"}})
    assert result["changed"] and result["sha256"] is None


def test_an_answer_of_another_shape_is_told() -> None:
    class Odd(Disk):
        def _inspect(self, request: Json) -> Json:
            return {"files": [{"id": "file"}]}

    assert win_ini(Odd(), sections={"S": {}})["error"]["code"] == "wrong_answer"


def test_variables_in_the_path_come_back_expanded() -> None:
    disk = Disk()
    result = win_ini(disk, path="%SystemRoot%\\a.ini", sections={"Db": {"Server": "b"}})
    assert result["path"] == disk.requests[1]["files"][0]["path"] == "C:\\WINNT\\a.ini"


def test_info_reads_everything_in_one_execution() -> None:
    disk = Disk(b"\xff\xfe" + "[Db]\nServer='a b'\nserver=c\n[Db]\n".encode("utf-16-le"))
    result = win_ini_info(disk)
    assert result["content"] == {"Db": {"Server": "a b"}}
    first = {"name": "Server", "value": "a b", "line": 2, "in_force": True}
    second = {"name": "server", "value": "c", "line": 3, "in_force": False}
    assert result["sections"] == [
        {"name": "Db", "line": 1, "in_force": True, "entries": [first, second]},
        {"name": "Db", "line": 4, "in_force": False, "entries": []},
    ]
    assert result["duplicates"] == [
        {"section": "Db", "key": "server", "line": 3},
        {"section": "Db", "key": None, "line": 4},
    ]
    assert (result["encoding"], result["bom"], result["newline"], result["exists"]) == ("utf-16-le", True, "lf", True)
    assert result["size"] == len(disk.content or b"") and result["sha256"] == sha256(disk.content or b"")
    assert ops(disk) == ["inspect"]


def test_info_of_chosen_sections_and_of_a_missing_file() -> None:
    assert win_ini_info(Disk(FILE + b"[T]\n"), sections=["t", "none"])["content"] == {"T": {}}
    assert win_ini_info(Disk(FILE + b"[T]\n[1]\n"), sections=[" T ", 1])["content"] == {"T": {}, "1": {}}
    assert win_ini_info(Disk(), sections=[])["content"] == {}
    odd = win_ini_info(Disk(), sections=[True, 1.1])
    assert [problem["option"] for problem in odd["problems"]] == ["sections", "sections"]
    missing = win_ini_info(Disk(None))
    assert (missing["exists"], missing["content"], missing["sha256"]) == (False, {}, None)
    assert "failed" not in missing


# --- hidden values ---------------------------------------------------------------------------------------------------

SECRET = "s3cr3t"
# Where a hidden value may stand; @ is the value.
HIDING_PLACES = (
    "Password=@",
    "  password = @",
    "pass\0word=@",
    "password\0x=@",
    "password: @",
    "password:x@=",
    "password @",
    "password @==",
    "=@",
    " = @",
    "; password=@",
    "# Password: @",
    "REM password @",
    "// old password was: password = @",
    "; 'password': '@'",
    "[T] password=@",
    "[password=@]",
    "[password: @",
    "path=1\x81\npassword=@",
    "x=1\x81\r\n; password @",
    "x=1 \0password=@",
)
OTHER_LINES = ("Server=a", "[Db]", "[Db]", "; note", "bare", "", "Server=b ; remark", "password", "Password=")


def hiding_files() -> st.SearchStrategy[bytes]:
    rows = st.lists(st.sampled_from((*HIDING_PLACES, *HIDING_PLACES, *OTHER_LINES)), max_size=10)
    text = st.tuples(st.sampled_from(("[Db]\r\n", "")), rows.map("\r\n".join)).map("".join)
    coded = st.sampled_from(
        (("latin-1", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-le", b""))
    )
    return st.tuples(text, coded).map(lambda part: part[1][1] + part[0].replace("@", SECRET).encode(part[1][0]))


@settings(max_examples=500, deadline=None)
@given(
    hiding_files(),
    st.sampled_from(("auto", "cp932", "cp936", "utf-8", "utf-16-le")),
    st.sampled_from(("windows", "last_wins")),
    st.sampled_from(("password", "*PASS*", "*word", "pass*")),
    st.sampled_from(
        ("n3w-" + SECRET, f'"{SECRET}"', SECRET + "\n", SECRET + "\u0416", SECRET + "\ud800", SECRET + "\t")
    ),
)
def test_no_hidden_value_is_in_anything_that_is_told(
    data: bytes, encoding: str, reader: str, pattern: str, value: str
) -> None:
    options: Json = {"encoding": encoding, "reader": reader, "redact": [pattern]}
    told = [win_ini_info(Disk(data), **options)]
    told.append(win_ini(Disk(data), sections={"Db": {"Server": "b"}, "new": {"x": "1"}}, **options))
    told.append(win_ini(Disk(data), sections={"Db": {"Password": value}}, uncomment=True, **options))
    told.append(win_ini(Disk(data), absent_keys={"Db": ["password", "Server"]}, absent_sections=["T"], **options))
    told.append(win_ini(Disk(data), sections={"Db": {"Server": "b"}}, exclusive="file", duplicates="fail", **options))
    for result in told:
        assert SECRET not in json.dumps(result).replace("\\u0000", "").replace("\\\\x00", "")


# --- where the file lies ---------------------------------------------------------------------------------------------


@dataclass
class Mapped(Disk):
    """A server whose registry has some of what is asked for."""

    mapped: tuple[str, ...] = ()

    def _inspect(self, request: Json) -> Json:
        rows = [
            {"id": row["id"], "value": "#SYS:x" if f"{row['key']}|{row['value']}".endswith(self.mapped) else None}
            for row in request["registry"]
        ]
        return {**super()._inspect(request), "registry": rows}


@pytest.mark.parametrize(
    ("disk", "path", "found"),
    [
        (Mapped(), PATH, False),
        (Mapped(), "C:\\WINNT\\Win.ini", True),
        (Mapped(), "C:\\WINNT\\SYSTEM.INI", True),
        (Mapped(mapped=("IniFileMapping\\a.ini|",)), PATH, True),
        (Mapped(mapped=("IniFileMapping\\a.ini|Db",)), PATH, True),
        (Mapped(mapped=("IniFileMapping\\a.ini\\Db|",)), PATH, True),
        (Mapped(mapped=("IniFileMapping\\b.ini|",)), PATH, False),
    ],
)
def test_a_file_that_windows_keeps_in_the_registry_is_a_finding(disk: Mapped, path: str, found: bool) -> None:
    for result in (
        win_ini(disk, path=path, sections={"Db": {"Server": "b"}}),
        win_ini_info(disk, path=path, sections=["Db"]),
    ):
        assert [row["code"] for row in result["findings"]] == ["ini_file_mapping"] * found
        assert result["executions"] <= 2


def test_a_drive_of_a_user_and_an_unknown_variable_have_their_own_words() -> None:
    gone = win_ini(Disk(None, directory_exists=False), path="Z:\\app\\a.ini", sections={"S": {"a": "1"}})
    assert "network drive" in gone["msg"] and "\\\\server\\share" in gone["msg"]
    here = win_ini(Disk(None, directory_exists=False), sections={"S": {"a": "1"}})
    assert "network drive" not in here["msg"]
    unknown = win_ini(Disk(None), path="%NOWHERE%\\a.ini", sections={"S": {"a": "1"}})
    assert unknown["failed"] and "%NOWHERE%" in unknown["msg"] and "variable" in unknown["msg"]


def test_info_reads_what_win_ini_refuses_to_edit() -> None:
    data = "[S]\r\na=1\r\n".encode("utf-16-le")
    read = win_ini_info(Disk(data))
    assert not read.get("failed") and [row["code"] for row in read["findings"]] == ["encoding_utf_16_unmarked"]
    disk = Disk(data)
    refused = win_ini(disk, sections={"S": {"a": "2"}})
    assert refused["failed"] and ops(disk) == ["inspect"] and disk.content == data
    assert "encoding to utf-16-le" in refused["msg"] and "EX1" in refused["msg"] and PATH in refused["msg"]
    assert win_ini_info(Disk("[Gr\xf6\xdfe]\na=\xe9\n".encode()))["content"] == {"Gr\xf6\xdfe": {"a": "\xe9"}}
    assert win_ini_info(Disk(b"k=1\n[S]\n"))["content"] == {"": {"k": "1"}, "S": {}}
