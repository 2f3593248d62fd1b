# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What win_ini plans from its options and a file's bytes."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini import wishes
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.paths import read_path
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.win_ini_plan import (
    INI_MAX_BYTES,
    IniPlan,
    plan_ini,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.wishes import read_ini_wanted
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Problem, Refused
from tests.support.options import options_of

FILE = b"[Db]\r\nServer=a\r\nPort=1\r\n; note\r\n[Log]\r\nLevel=info\r\n"
Json = dict[str, t.Any]
DEFAULTS: dict[str, t.Any] = options_of("win_ini", path="C:\\app\\a.ini")


def plan(data: bytes | None, **options: t.Any) -> IniPlan:
    return plan_ini(read_ini_wanted({**DEFAULTS, **options}), data)


def refused(data: bytes | None = FILE, **options: t.Any) -> Problem:
    with pytest.raises(Refused) as caught:
        plan(data, **options)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def row(section: str, key: str | None, action: str, before: str | None, after: str | None, line: int | None) -> Json:
    return {"section": section, "key": key, "action": action, "before": before, "after": after, "line": line}


def test_keys_are_set_added_and_removed_in_one_go() -> None:
    wish = {"db": {"server": "b", "User": "u"}, "New": {"k": 7}}
    made = plan(FILE, sections=wish, absent_keys={"DB": ["port"]})
    assert bytes(made.after) == (b"[Db]\r\nServer=b\r\nUser=u\r\n; note\r\n[Log]\r\nLevel=info\r\n[New]\r\nk=7\r\n")
    assert made.changes == (
        row("Db", "Server", "changed", "a", "b", 2),
        row("Db", "User", "added", None, "u", None),
        row("Db", "Port", "removed", "1", None, 3),
        row("New", None, "added", None, None, None),
        row("New", "k", "added", None, "7", None),
    )


def test_what_is_there_already_changes_nothing() -> None:
    made = plan(FILE, sections={"DB": {"SERVER": "a"}}, absent_keys={"db": ["absent"]}, absent_sections=["none"])
    assert not made.changed
    assert made.changes == ()


def test_absent_sections_leave_their_comments() -> None:
    made = plan(FILE, absent_sections=["DB"])
    assert bytes(made.after) == b"; note\r\n[Log]\r\nLevel=info\r\n"
    assert [(row["section"], row["key"], row["action"]) for row in made.changes] == [
        ("Db", None, "removed"),
        ("Db", "Server", "removed"),
        ("Db", "Port", "removed"),
    ]


@pytest.mark.parametrize(
    ("exclusive", "result"),
    [
        ("none", b"[Db]\r\nServer=a\r\nPort=2\r\n; note\r\n[Log]\r\nLevel=info\r\n"),
        ("sections", b"[Db]\r\nPort=2\r\n; note\r\n[Log]\r\nLevel=info\r\n"),
        ("file", b"[Db]\r\nPort=2\r\n; note\r\n"),
    ],
)
def test_exclusive(exclusive: str, result: bytes) -> None:
    assert bytes(plan(FILE, sections={"Db": {"Port": "2"}}, exclusive=exclusive).after) == result


@pytest.mark.parametrize("exclusive", ["sections", "file"])
def test_exclusive_removes_what_windows_reads_and_leaves_the_rest(exclusive: str) -> None:
    """Bare text, keys without a name and sections without one are read by no program that asks Windows."""
    data = b"x=0\r\n[Db]\r\nbare\r\n=5\r\n;c=1\r\na=1\r\nb=2\r\n[]\r\ny=3\r\n[Log]\r\nz=4\r\n"
    after = bytes(plan(data, sections={"Db": {"a": "1"}}, exclusive=exclusive).after)
    gone = data.replace(b"b=2\r\n", b"")
    assert after == (gone if exclusive == "sections" else gone.replace(b"[Log]\r\nz=4\r\n", b""))


def test_only_removals_make_no_file() -> None:
    made = plan(None, absent_keys={"S": ["a"]}, absent_sections=["T"])
    assert not made.changed


def test_a_new_file_in_each_encoding() -> None:
    assert bytes(plan(None, sections={"S": {}}).after) == b"[S]\r\n"
    assert bytes(plan(None, sections={"S": {}}, newline="lf").after) == b"[S]\n"
    assert bytes(plan(None, sections={"\u0416": {}}, encoding="cp1251").after) == b"[\xc6]\r\n"
    assert bytes(plan(None, sections={"\u0416": {}}, encoding="utf-16-le").after) == b"\xff\xfe[\0\x16\x04]\0\r\0\n\0"


def test_a_byte_order_mark_that_contradicts_the_option_is_refused() -> None:
    problem = refused(b"\xff\xfe[\0S\0]\0", sections={"S": {"a": "1"}}, encoding="cp1252")
    assert (problem.code, problem.option, problem.value) == ("bad_option", "encoding", "cp1252")
    assert "utf-16-le" in problem.cause
    assert plan(b"\xff\xfe[\0S\0]\0", sections={"S": {}}, encoding="utf-16-le").changed is False


def test_duplicates_are_reported_with_their_lines_and_warned_about() -> None:
    made = plan(b"[S]\na=1\nA=2\n[s]\n", sections={"S": {"a": "3"}})
    assert made.duplicates == ({"section": "S", "key": "A", "line": 3}, {"section": "s", "key": None, "line": 4})
    assert bytes(made.after) == b"[S]\na=3\nA=2\n[s]\n"
    assert [warning.split(":")[1].split(",")[1] for warning in made.warnings] == [" line 3", " line 4"]
    assert bytes(plan(b"[S]\na=1\nA=2\n[s]\n", sections={"S": {"a": "3"}}, duplicates="remove").after) == b"[S]\na=3\n"


def test_duplicates_fail_names_section_line_and_option() -> None:
    problem = refused(b"[S]\na=1\nA=2\n", sections={"S": {"a": "3"}}, duplicates="fail")
    assert (problem.code, problem.option, problem.value, problem.path) == (
        "duplicate_key",
        "duplicates",
        "fail",
        "C:\\app\\a.ini",
    )
    assert "line 3" in problem.cause


def test_a_section_hidden_by_the_utf_8_mark_is_edited_in_place_and_warned_about() -> None:
    made = plan(b"\xef\xbb\xbf[S]\na=1\n", sections={"S": {"a": "2"}})
    assert bytes(made.after) == b"\xef\xbb\xbf[S]\na=2\n"
    assert [row["code"] for row in made.findings] == ["encoding_bom"]
    assert "[S]" in made.warnings[0]


def test_hidden_values_are_hidden_in_changes() -> None:
    made = plan(FILE, sections={"Db": {"Server": "x", "Token": "t"}, "Log": {"Level": "debug"}}, redact=["db/*"])
    shown = {(row["key"], row["before"], row["after"]) for row in made.changes}
    assert shown == {("Server", "<hidden>", "<hidden>"), ("Token", None, "<hidden>"), ("Level", "info", "debug")}


@pytest.mark.parametrize("value", ["pa\nss", "pass\0"])
def test_messages_name_the_key_and_never_the_value(value: str) -> None:
    problem = refused(sections={"Db": {"Password": value}})
    assert "Password" in problem.cause
    assert "[Db]" in problem.cause
    assert "pa" not in problem.cause.replace("Password", "")
    assert problem.option in ("sections", "encoding")


@pytest.mark.parametrize(
    ("options", "option", "word"),
    [
        ({"sections": {"S": None}}, "sections", "absent_sections"),
        ({"sections": {"S": "x"}}, "sections", "absent_sections"),
        ({"sections": {"S": {"a": True}}}, "sections", "quotes"),
        ({"sections": {"S": {"a": 1.1}}}, "sections", "quotes"),
        ({"sections": {"S": {"a": {"x": "y"}}}}, "sections", "quotes"),
        ({"sections": {"S": {"a": ["x", True]}}}, "sections", "quotes"),
        ({"sections": {"S": {"a": []}}}, "sections", "absent_keys"),
        ({"sections": {"S": {"a": None}}}, "sections", "default(omit)"),
        ({"bare_keys": {"S": "a"}}, "bare_keys", "list"),
        ({"bare_keys": {"S": ["# a"]}}, "sections", "REM"),
        ({"bare_keys": {"S": ["a"]}, "sections": {"S": {"A": "1"}}}, "bare_keys", "one of them"),
        ({"absent_keys": {"S": ["a"]}, "sections": {"S": {"A": "1"}}}, "absent_keys", "one of them"),
        ({"absent_sections": [""]}, "absent_sections", "absent_keys"),
        ({"sections": {"S": {"a": "1"}}, "select": {"S": {"key": "a"}}}, "select", "value"),
        ({"sections": {"Db": {"a": "1"}}, "select": {"db": {"key": "Server", "value": "z"}}}, "select", "win_ini_info"),
        ({"sections": {"S": {True: "x"}}}, "sections", "quotes"),
        ({"sections": yaml.safe_load("S: {on: x}")}, "sections", "quotes"),
        ({"sections": {"S": {}, "s": {}}}, "sections", "once"),
        ({"sections": {"S": {"a": "1", "A": "2"}}}, "sections", "once"),
        ({"sections": {"S": {}}, "absent_sections": ["s"]}, "absent_sections", "sections"),
        ({"sections": {"S": {"a": "1"}}, "absent_sections": [" S\t"]}, "absent_sections", "sections"),
        ({"sections": {"S": {"a": "1"}, " s": {"x": "1"}}}, "sections", "once"),
        ({"sections": {"S": {"a": "1", " A": "2"}}}, "sections", "once"),
        ({"sections": {"S": {1: "x", "1": "y"}}}, "sections", "once"),
        ({"absent_sections": yaml.safe_load("[yes]")}, "absent_sections", "quotes"),
        ({"absent_sections": yaml.safe_load("[1.10]")}, "absent_sections", "quotes"),
        ({"absent_sections": [None]}, "absent_sections", "quotes"),
        ({"sections": {" S": {"a": "1"}}}, "sections", "blanks"),
        ({"sections": {"S": {"a ": "1"}}}, "sections", "blanks"),
        ({"sections": {}, "exclusive": "file"}, "exclusive", "stay"),
        ({"sections": {"S": {}}, "expect_sha256": "abc"}, "expect_sha256", "64"),
        ({"sections": {"a]b": {}}}, "sections", "brackets"),
        ({"sections": {"S": {"a=b": "1"}}}, "sections", "'='"),
        ({"sections": {"S": {"\u0416": "1"}}}, "encoding", "code page"),
    ],
)
def test_bad_options_name_option_and_remedy(options: dict[str, t.Any], option: str, word: str) -> None:
    problem = refused(**options)
    assert problem.option == option
    assert word in problem.remedy


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(Refused) as caught:
        plan(FILE, sections={"S": {"a": True}, "T": None}, expect_sha256="x")
    assert [problem.option for problem in caught.value.problems] == ["sections", "sections", "expect_sha256"]


@pytest.mark.parametrize("exclusive", ["none", "sections", "file"])
def test_blanks_around_names_that_shall_not_be_there_change_nothing_the_second_time(exclusive: str) -> None:
    wish: dict[str, t.Any] = {
        "sections": {"Db": {}},
        "absent_keys": {" Db": [" port "]},
        "absent_sections": ["Log "],
        "exclusive": exclusive,
    }
    once = bytes(plan(FILE, **wish).after)
    assert once.startswith(b"[Db]\r\n") and b"Port" not in once and b"[Log]" not in once
    assert (b"Server" in once) is (exclusive == "none")
    assert not plan(once, **wish).changed


class Vaulted:
    """A value that was written with !vault, as ansible-core before 2.19 hands it over: no str."""

    __ENCRYPTED__ = True

    def __str__(self) -> str:
        return "from the vault"


def test_a_vaulted_value_is_text() -> None:
    made = plan(FILE, sections={"Db": {"Server": Vaulted()}})
    assert b"Server=from the vault\r\n" in bytes(made.after)


def test_thousands_of_names_are_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[str] = []
    monkeypatch.setattr(wishes, "fold", lambda name: folded.append(name) or name)  # type: ignore[func-returns-value]
    keys = {f"k{number}": "1" for number in range(2000)}
    read_ini_wanted({**DEFAULTS, "sections": {"S": keys}})
    assert len(folded) < 5 * len(keys)


def test_a_result_that_would_be_too_large_is_refused() -> None:
    data = b"[S]\r\n" + b";" * (INI_MAX_BYTES - 7) + b"\r\n"
    assert len(data) == INI_MAX_BYTES
    problem = refused(data, sections={"S": {"a": "1"}})
    assert problem.code == "too_large"
    assert str(INI_MAX_BYTES) in problem.cause


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("C:\\a.ini", "C:\\a.ini"),
        ("c:/app/a b.ini", "c:\\app\\a b.ini"),
        ("%SystemRoot%\\a.ini", "%SystemRoot%\\a.ini"),
        ("\\\\SERVER\\share\\a.ini", "\\\\SERVER\\share\\a.ini"),
    ],
)
def test_paths(path: str, read: str) -> None:
    assert read_path({"path": path}) == read


NO_PATHS = ["", "a.ini", "\\a.ini", "C:a.ini", "C:\\", "C:\\dir\\", "C:\\a?.ini", "C:\\a\n.ini"]
ODD_PATHS = ["\\\\.\\C:\\x.ini", "\\\\?\\C:\\x.ini", "C:\\a.ini:b", "C:\\a:b\\x.ini", "C:\\a.ini.", "C:\\a.ini "]


@pytest.mark.parametrize("path", [*NO_PATHS, *ODD_PATHS])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(Refused) as caught:
        read_path({"path": path})
    assert (caught.value.problems[0].option, caught.value.problems[0].value) == ("path", path.replace("/", "\\"))


def test_a_network_path_behind_a_management_host_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        read_path({"path": "\\\\S\\c$\\a.ini", "computer": "S"})
    assert "computer" in caught.value.problems[0].remedy
