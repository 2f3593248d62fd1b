# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ask of a module for INI files: quotes, lists, bare keys, comments, sections of one name, numbers."""

from __future__ import annotations

import datetime
import typing as t

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.paths import read_path
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.readers import read_profile
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.redact import Redactor
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.report import content_of, section_rows
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.survey import survey
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.win_ini_plan import IniPlan, plan_ini
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.wishes import read_ini_wanted, yaml_integer
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Problem, Refused
from tests.support.options import options_of

Json = dict[str, t.Any]


def plan(data: bytes | None, **options: t.Any) -> IniPlan:
    return plan_ini(read_ini_wanted(options_of("win_ini", **{"path": "C:\\a.ini", **options})), data)


def edited(data: bytes, **options: t.Any) -> bytes:
    """The file afterwards; the same task changes nothing more."""
    made = plan(data, **options)
    again = plan(bytes(made.after), **options)
    assert not again.changed and again.changes == ()
    assert made.changed is bool(made.changes)
    return bytes(made.after)


def refused(data: bytes, **options: t.Any) -> Problem:
    with pytest.raises(Refused) as caught:
        plan(data, **options)
    (problem,) = caught.value.problems
    return problem


def codes(made: IniPlan) -> list[str]:
    return [row["code"] for row in made.findings]


# --- quotes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "wish", "quotes", "after"),
    [
        ('"C:\\old"', "C:\\new", "keep", '"C:\\new"'),
        ("'old'", "it's", "keep", "'it's'"),
        ("old", "new", "keep", "new"),
        ("old", '"new"', "keep", '"new"'),
        ("old", "'new'", "keep", "'new'"),
        ('"x"', '"x"', "keep", '"x"'),
        ('"x"', "x", "keep", '"x"'),
        ("x", '"x"', "keep", "x"),
        ("x", "x", "always", "x"),
        ('"x"', "x", "never", '"x"'),
        ("old", '""x""', "keep", '""x""'),
        ('""x""', '""x""', "keep", '""x""'),
        ('""x""', '"x"', "keep", '""x""'),
        ("old", " x ", "keep", '" x "'),
        ("old", "x", "always", '"x"'),
        ('"old"', "x", "never", "x"),
        ("old", '"x"', "never", '"x"'),
        ('"old"', "", "keep", '""'),
        ("old", '""', "keep", '""'),
        ("old", '"', "keep", '"""'),
    ],
)
def test_quotes_of_a_changed_value(before: str, wish: str, quotes: str, after: str) -> None:
    data = f"[S]\r\npath = {before}\r\n".encode()
    assert edited(data, sections={"S": {"path": wish}}, quotes=quotes) == f"[S]\r\npath = {after}\r\n".encode()


@pytest.mark.parametrize(("quotes", "after"), [("keep", b"x"), ("always", b'"x"'), ("never", b"x")])
def test_quotes_of_a_new_value(quotes: str, after: bytes) -> None:
    assert edited(b"[S]\r\n", sections={"S": {"k": "x"}}, quotes=quotes) == b"[S]\r\nk=" + after + b"\r\n"


@pytest.mark.parametrize("wish", [" x", "x\t", '"x'[::-1] and '"'])
def test_a_value_that_needs_quotes_is_refused_without(wish: str) -> None:
    problem = refused(b"[S]\r\n", sections={"S": {"k": wish}}, quotes="never")
    assert problem.code == "bad_value" and "quotes" in problem.remedy


WISHES = st.text(st.sampled_from("ab'\" ;=\t"), max_size=6)


@settings(max_examples=300, deadline=None)
@given(WISHES, WISHES, st.sampled_from(("keep", "always")))
def test_what_is_asked_for_is_read_back(before: str, wish: str, quotes: str) -> None:
    data = f"[S]\r\nk={before}\r\n".encode()
    present = read_profile(Document.parse(data)).get("S", "k")
    quoted = len(wish) > 1 and wish[0] in "'\"" and wish[-1] == wish[0]
    expected = wish[1:-1] if quoted and wish != present else wish
    after = edited(data, sections={"S": {"k": wish}}, quotes=quotes)
    assert read_profile(Document.parse(after)).get("S", "k") == expected
    assert (after == data) is (present == expected)


# --- keys without "=" ------------------------------------------------------------------------------------------------

MYSQL = b"[mysqld]\r\nskip-networking\r\n  port = 3306\r\n# skip-grant\r\n; x\r\n// y\r\nREM z\r\n"


def test_bare_keys_are_shown() -> None:
    rows = section_rows(survey(Document.parse(MYSQL)), None, Redactor())
    assert [(row["name"], row["value"], row["in_force"]) for row in rows[0]["entries"]] == [
        ("skip-networking", None, True),
        ("port", "3306", True),
    ]
    assert content_of(rows) == {"mysqld": {"port": "3306"}}


@pytest.mark.parametrize("reader", ["windows", "last_wins"])
def test_bare_keys_are_set_and_removed(reader: str) -> None:
    assert edited(MYSQL, bare_keys={"mysqld": ["Skip-Networking"]}, reader=reader) == MYSQL
    added = edited(MYSQL, bare_keys={"mysqld": ["skip-name-resolve"]}, reader=reader)
    assert b"port = 3306\r\n  skip-name-resolve\r\n" in added or b"REM z\r\n  skip-name-resolve\r\n" in added
    assert edited(added, absent_keys={"MYSQLD": ["skip-name-resolve"]}, reader=reader) == MYSQL
    gone = edited(MYSQL, absent_keys={"mysqld": ["skip-networking"]}, reader=reader)
    assert gone == MYSQL.replace(b"skip-networking\r\n", b"")
    bare = edited(MYSQL, bare_keys={"mysqld": ["port"]}, reader=reader)
    assert bare == MYSQL.replace(b"  port = 3306", b"  port")
    assert edited(bare, sections={"mysqld": {"port": "3306"}}, reader=reader).count(b"port") == 1
    valued = plan(MYSQL, sections={"mysqld": {"skip-networking": "1"}}, reader=reader)
    assert valued.changes[0]["before"] is None and valued.changes[0]["after"] == "1"
    assert bytes(valued.after).startswith(b"[mysqld]\r\nskip-networking")


@pytest.mark.parametrize("name", ["; a", "# a", "#a", "// a", "//a", "REM a", "rem\ta", "[a", "a=b"])
def test_what_looks_like_a_comment_is_no_bare_key(name: str) -> None:
    assert refused(b"[S]\r\n", bare_keys={"S": [name]}).code == "bad_name"
    rows = section_rows(survey(Document.parse(b"[S]\r\n" + name.replace("=", "").encode() + b"\r\n")), None, Redactor())
    assert (rows[0]["entries"] == []) is (name != "a=b")


# --- repeated keys ---------------------------------------------------------------------------------------------------

PHP = b'[PHP]\r\nextension=a\r\n; note\r\n extension = "b"\r\nx=1\r\nextension=c\r\n'


@pytest.mark.parametrize(
    ("wish", "after"),
    [
        (["a", "b", "c"], PHP),
        (["a", "c"], PHP.replace(b' extension = "b"\r\n', b"")),
        (["a", "z", "c"], PHP.replace(b'"b"', b'"z"')),
        (["b", "c", "d"], PHP.replace(b"extension=a\r\n", b"") + b"extension=d\r\n"),
        (["n", "a", "b", "c"], PHP.replace(b"extension=a", b"extension=n\r\nextension=a")),
        (["a", "m", "n", "b", "c"], PHP.replace(b"extension=a", b"extension=a\r\nextension=m\r\nextension=n")),
        (
            ["c", "a"],
            PHP.replace(b"extension=a", b"extension=c", 1)
            .replace(b' extension = "b"', b' extension = "a"')
            .replace(b"x=1\r\nextension=c\r\n", b"x=1\r\n"),
        ),
    ],
)
@pytest.mark.parametrize("duplicates", ["keep", "remove", "fail"])
def test_a_list_sets_all_lines_of_a_name_in_order(wish: list[str], after: bytes, duplicates: str) -> None:
    options: Json = {"sections": {"PHP": {"extension": wish}}, "duplicates": duplicates, "reader": "last_wins"}
    made = edited(PHP, **options)
    read = [line.value for line in Document.parse(made).lines if line.kind == "key" and line.name == "extension"]
    assert read == wish
    kept = [raw for raw in PHP.split(b"\r\n") if raw in made.split(b"\r\n")]
    assert b"; note" in kept and b"x=1" in kept
    if wish != ["c", "a"]:  # there are two shortest ways
        assert made == after.replace(b"extension=n\r\n", b"extension=n\r\n")


def test_a_list_makes_new_lines_and_is_a_finding_under_windows_reading() -> None:
    made = plan(b"[S]\r\na=1\r\n", sections={"S": {"x": ["1", 2, '"3"']}})
    assert bytes(made.after) == b'[S]\r\na=1\r\nx=1\r\nx=2\r\nx="3"\r\n'
    assert codes(made) == ["repeated_key"] and "x" in made.warnings[0]
    assert [row["after"] for row in made.changes] == ["1", "2", "3"]
    assert codes(plan(b"", sections={"S": {"x": ["1", "2"]}}, reader="last_wins")) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abcd"), min_size=1, max_size=6))
def test_any_list_becomes_any_other(before: list[str], wish: list[str]) -> None:
    data = b"[S]\r\ny=0\r\n" + b"".join(b"; c\r\nk=%s\r\n" % value.encode() for value in before) + b"z=9\r\n"
    after = edited(data, sections={"S": {"k": wish}})
    lines = Document.parse(after).lines
    assert [line.value for line in lines if line.name == "k"] == wish
    others = [line.raw for line in Document.parse(data).lines if line.name != "k"]
    assert [line.raw for line in lines if line.name != "k"] == others


# --- readers ---------------------------------------------------------------------------------------------------------

TWICE = b"[A]\r\nk=1\r\nK=2\r\n[B]\r\nx=0\r\n[a]\r\nk=3\r\nm=4\r\n"


@pytest.mark.parametrize(
    ("reader", "duplicates", "wish", "after"),
    [
        ("windows", "keep", {"k": "9"}, TWICE.replace(b"k=1", b"k=9")),
        ("last_wins", "keep", {"k": "9"}, TWICE.replace(b"k=3", b"k=9")),
        ("last_wins", "remove", {"k": "9"}, b"[A]\r\n[B]\r\nx=0\r\n[a]\r\nk=9\r\nm=4\r\n"),
        ("last_wins", "keep", {"n": "9"}, TWICE + b"n=9\r\n"),
        ("windows", "keep", {"n": "9"}, TWICE.replace(b"K=2\r\n", b"K=2\r\nn=9\r\n")),
        ("last_wins", "keep", {"k": "3", "m": "4"}, TWICE),
    ],
)
def test_which_line_is_edited(reader: str, duplicates: str, wish: Json, after: bytes) -> None:
    assert edited(TWICE, sections={"A": wish}, reader=reader, duplicates=duplicates) == after


def test_content_under_each_reader() -> None:
    document = Document.parse(TWICE + b"# r=1\r\n")
    windows, last = (survey(document, reader) for reader in t.get_args(t.Literal["windows", "last_wins"]))
    rows = section_rows(windows, None, Redactor())
    assert content_of(rows) == {"A": {"k": "1"}, "B": {"x": "0"}}
    assert [(row["name"], row["line"], row["in_force"]) for row in rows] == [
        ("A", 1, True),
        ("B", 4, True),
        ("a", 6, False),
    ]
    assert content_of(section_rows(last, None, Redactor())) == {"A": {"k": "3", "m": "4"}, "B": {"x": "0"}}
    assert [(finding.code, finding.line) for finding in last.findings] == [
        ("ambiguous_duplicate_key", 2),
        ("ambiguous_duplicate_key", 3),
    ]


def test_last_wins_removes_everywhere_and_fails_on_keys_alone() -> None:
    assert edited(TWICE, absent_keys={"A": ["k"]}, reader="last_wins") == b"[A]\r\n[B]\r\nx=0\r\n[a]\r\nm=4\r\n"
    problem = refused(TWICE, sections={"A": {"k": "9"}}, reader="last_wins", duplicates="fail")
    assert problem.code == "duplicate_key" and "line 7" in problem.cause
    assert plan(TWICE, sections={"A": {"m": "9"}}, reader="last_wins", duplicates="fail").changed


# --- before any section, and sections of one name --------------------------------------------------------------------


def test_keys_before_any_section() -> None:
    data = b"; head\r\nroot = /x\r\n[S]\r\na=1\r\n"
    made = plan(data, sections={"": {"ROOT": "/y", "new": "1"}})
    assert bytes(made.after) == b"; head\r\nroot = /y\r\nnew = 1\r\n[S]\r\na=1\r\n"
    assert codes(made) == ["before_section"] and "profile functions cannot read" in made.warnings[0]
    assert edited(data, absent_keys={"": ["root"]}) == data.replace(b"root = /x\r\n", b"")
    assert edited(b"[S]\r\na=1\r\n", sections={"": {"k": "1"}}) == b"k=1\r\n[S]\r\na=1\r\n"
    assert edited(b"", sections={"": {"k": "1"}}) == b"k=1\r\n"
    assert content_of(section_rows(survey(Document.parse(data)), None, Redactor())) == {
        "": {"root": "/x"},
        "S": {"a": "1"},
    }
    assert codes(plan(data, sections={"S": {"a": "1"}}, reader="last_wins")) == []
    assert plan(data, sections={"S": {"a": "2"}}).warnings == ()
    assert edited(data, sections={"": {"b": "2"}}, exclusive="sections") == data.replace(b"root = /x", b"b = 2")
    assert edited(data, sections={"S": {"b": "2"}}, exclusive="file").startswith(b"; head\r\nroot = /x\r\n")


PEERS = b"[Peer]\r\nKey=abc\r\nIp=1\r\n[Peer]\r\nKey=def\r\nIp=2\r\n; last\r\n"


@pytest.mark.parametrize("reader", ["windows", "last_wins"])
def test_one_of_several_sections_is_selected(reader: str) -> None:
    select = {"peer": {"key": "KEY", "value": "def"}}
    assert edited(PEERS, sections={"Peer": {"Ip": "9"}}, select=select, reader=reader) == PEERS.replace(
        b"Ip=2", b"Ip=9"
    )
    assert edited(PEERS, sections={"Peer": {"Ip": "2"}}, select=select, reader=reader) == PEERS
    assert (
        edited(PEERS, sections={"Peer": {"Ip": "9"}}, select=select, duplicates="remove", reader=reader).count(b"[")
        == 2
    )
    assert edited(PEERS, absent_keys={"Peer": ["Ip"]}, select=select, reader=reader) == PEERS.replace(b"Ip=2\r\n", b"")
    only = edited(PEERS, sections={"Peer": {"Key": "def"}}, select=select, exclusive="sections", reader=reader)
    assert only == PEERS.replace(b"Ip=2\r\n", b"")
    with pytest.raises(Refused):
        plan(PEERS, sections={"Peer": {"Ip": "9"}}, select={"Peer": {"key": "Key", "value": "x"}}, reader=reader)
    assert bytes(plan(PEERS, absent_sections=["Peer"], select=select, reader=reader).after) == (
        b"[Peer]\r\nKey=abc\r\nIp=1\r\n; last\r\n"
    )


def test_a_selection_that_fits_several_is_refused_with_their_lines() -> None:
    problem = refused(
        PEERS.replace(b"def", b"abc"), sections={"Peer": {}}, select={"Peer": {"key": "Key", "value": "abc"}}
    )
    assert (problem.code, problem.option) == ("select_several", "select") and "1, 4" in problem.cause


# --- comments --------------------------------------------------------------------------------------------------------

COMMENTS = b"[S]\r\n# a=1\r\nREM x=2\r\n//b=3\r\n; c=4\r\nk=5\r\nbare\r\n[T]\r\n# t=1\r\nu=2\r\n; v=3\r\n"


@pytest.mark.parametrize("reader", ["windows", "last_wins"])
@pytest.mark.parametrize("exclusive", ["sections", "file"])
def test_exclusive_never_removes_a_comment(exclusive: str, reader: str) -> None:
    after = edited(COMMENTS, sections={"S": {"n": "1"}}, exclusive=exclusive, reader=reader)
    for comment in (b"# a=1", b"REM x=2", b"//b=3", b"; c=4", b"# t=1", b"; v=3"):
        assert comment in after
    assert b"k=5" not in after and (b"bare" in after) is (reader == "windows")
    assert (b"u=2" in after) is (exclusive == "sections")


@pytest.mark.parametrize("reader", ["windows", "last_wins"])
@pytest.mark.parametrize("comment", [b"; note", b"# note", b"// note", b"REM note"])
def test_a_comment_stays_also_where_several_sections_behind_each_other_leave(comment: bytes, reader: str) -> None:
    for data in (
        b"[a]\r\nx=1\r\n[b]\r\n[b]\r\n%s\r\n" % comment,
        b"[c]\r\n[a]\r\nx=1\r\n[b]\r\nz=1\r\n[C]\r\n%s\r\n" % comment,
    ):
        assert comment in edited(data, sections={"a": {"x": "1"}}, exclusive="file", reader=reader)


@pytest.mark.parametrize(
    "comment",
    [b";Timeout=30", b"; Timeout = 30", b"# timeout=30", b"//Timeout=30", b"REM TIMEOUT = 30", b"  ;; Timeout=30"],
)
def test_a_key_that_is_commented_out_follows_its_comment(comment: bytes) -> None:
    data = b"[S]\r\na=1\r\n" + comment + b"\r\n; more\r\nb=2\r\n; end\r\n"
    after = edited(data, sections={"S": {"Timeout": "60"}})
    assert after == data.replace(comment + b"\r\n", comment + b"\r\nTimeout=60\r\n")
    assert edited(after, absent_keys={"S": ["Timeout"]}) == data
    turned = edited(data, sections={"S": {"Timeout": "60"}}, uncomment=True)
    line = next(raw for raw in turned.split(b"\r\n") if b"60" in raw)
    assert turned == data.replace(comment, line) and line.lstrip().startswith(b"Timeout")


def test_a_comment_after_the_last_key_counts_too_and_the_last_one_of_several() -> None:
    data = b"[S]\r\n;a=1\r\n;a=2\r\n; end\r\n\r\n[T]\r\n"
    assert edited(data, sections={"S": {"a": "3"}}) == data.replace(b";a=2\r\n", b";a=2\r\na=3\r\n")
    assert edited(data, sections={"S": {"a": "3"}}, uncomment=True) == data.replace(b";a=2", b"a=3")
    assert edited(b"[S]\r\n#skip-x", bare_keys={"S": ["skip-x"]}, uncomment=True) == b"[S]\r\nskip-x"
    assert edited(b"[S]\r\na=1\r\n;a=2\r\n", sections={"S": {"a": "3"}}, uncomment=True) == b"[S]\r\na=3\r\n;a=2\r\n"


def test_a_remark_that_leaves_is_a_finding() -> None:
    data = b"[S]\r\na=1 ; old remark\r\nb=2 # other\r\n"
    made = plan(data, sections={"S": {"a": "3"}}, absent_keys={"S": ["b"]})
    assert [(row["code"], row["line"]) for row in made.findings] == [("remark_removed", 2), ("remark_removed", 3)]
    assert not any("old remark" in row["message"] for row in made.findings) and len(made.warnings) == 2
    assert codes(plan(data, sections={"S": {"a": "1 ; old remark"}})) == []


# --- numbers, null, odd texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "0407",
        "22:30",
        "0x1F",
        "0b101",
        "1_000",
        "+12",
        "-7",
        "0",
        "007",
        "190:20:30",
        "12",
        "-0x1f",
        "08",
        "1:60",
        "0x",
        "x",
        "",
    ],
)
def test_integers_as_yaml_reads_them(text: str) -> None:
    value = yaml.safe_load(text)
    assert yaml_integer(text) == (value if isinstance(value, int) and not isinstance(value, bool) else None)


@pytest.mark.parametrize("spelled", ["0407", "22:30", "1_000", "0x1F", "+12"])
def test_an_integer_is_refused_where_the_file_spells_it_in_another_way(spelled: str) -> None:
    number = yaml.safe_load(spelled)
    data = f"[S]\r\nk={spelled}\r\n".encode()
    problem = refused(data, sections={"S": {"k": number}})
    assert "uote" in problem.remedy and spelled in problem.cause and str(number) in problem.cause
    assert refused(data, sections={"S": {"k": ["x", number]}}).code == "bad_option"
    assert edited(data, sections={"S": {"k": spelled}}) == data
    assert edited(data, sections={"S": {"k": number + 1}}) == f"[S]\r\nk={number + 1}\r\n".encode()
    assert plan(data, sections={"S": {"k": str(number)}}).changed
    hidden = refused(data, sections={"S": {"k": number}}, redact=["k"])
    assert spelled not in hidden.cause and str(number) not in hidden.cause
    named = f"[{spelled}]\r\n{spelled}=1\r\n".encode()
    assert "uote" in refused(named, sections={number: {"a": "1"}}).remedy
    assert "uote" in refused(named, sections={spelled: {number: "1"}}).remedy


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1.5, "a decimal number"),
        (True, "a boolean"),
        (datetime.date(2026, 12, 1), "a date"),
        ({"x": 1}, "a dictionary"),
        (b"x", "a bytes"),
    ],
)
def test_what_is_no_text_is_named_in_the_users_words(value: t.Any, word: str) -> None:
    class _AnsibleTagged(int if isinstance(value, bool) else type(value)):  # type: ignore[misc]
        pass

    for given_value in (value, _AnsibleTagged(value) if type(value) in (float, bytes, dict) else value):
        problem = refused(b"", sections={"S": {"a": given_value}})
        assert word in problem.cause and "_Ansible" not in problem.message("host")


def test_null_is_refused_with_both_ways_out() -> None:
    problem = refused(b"[S]\r\na=1\r\n", sections={"S": {"a": None}})
    assert "absent_keys" in problem.remedy and "default(omit)" in problem.remedy
    assert bytes(plan(b"[S]\r\na=1\r\n", sections={"S": {"a": ""}}).after) == b"[S]\r\na=\r\n"


@pytest.mark.parametrize(
    "wish",
    [{"S": {"a": "x\ud800"}}, {"S": {"a\udc00": "x"}}, {"S\ud800": {"a": "x"}}, {"S": {"a": ["1", "\ud800"]}}],
)
@pytest.mark.parametrize("encoding", ["auto", "utf-8", "utf-16-le", "cp932"])
def test_half_a_character_is_an_error_with_the_value(wish: Json, encoding: str) -> None:
    problem = refused(b"", sections=wish, encoding=encoding)
    assert "U+D" in problem.cause and "\\ud" in problem.message("host")
    problem.message("host").encode("utf-8")
    hidden = refused(b"", sections=wish, encoding=encoding, redact=["*"])
    assert "x\\ud800" not in hidden.cause or "a\\udc00" in problem.cause


def test_a_character_that_the_page_has_not_is_an_error_with_the_value() -> None:
    problem = refused(b"[S]\r\n", sections={"S": {"k": "abc\u0416"}})
    assert "U+0416" in problem.cause and "abc\u0416" in problem.cause and "[S]" in problem.cause
    assert "abc" not in refused(b"[S]\r\n", sections={"S": {"k": "abc\u0416"}}, redact=["k"]).message("host")


def test_a_control_character_in_a_value_is_a_finding() -> None:
    made = plan(b"[S]\r\nk=1\r\nl=1\r\n", sections={"S": {"k": "C:\temp", "l": "C:\\temp"}})
    assert [(row["code"], row["key"], row["line"]) for row in made.findings] == [("control_character", "k", None)]
    assert "U+0009" in made.warnings[0] and "single quotes" in made.warnings[0]


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "computer", "words"),
    [
        ("C:\\NUL", None, "device"),
        ("C:\\dir\\com1.ini", None, "device"),
        ("C:\\aux\\a.ini", None, "device"),
        ("c:/lpt9.txt.ini", None, "device"),
        ("C:\\a.ini.", None, "dot or a blank"),
        ("C:\\a.ini ", None, "dot or a blank"),
        ("C:\temp.ini", None, "U+0009"),
        ("C:\\a\ud800.ini", None, "U+D800"),
        ("%ProgramFiles%\\a.ini", "EX1", "management host's"),
        ("C:\\x\\%USERNAME%\\a.ini", "EX1", "management host's"),
        ("\\\\S\\c$\\a.ini", "EX1", "network path"),
        ("a.ini", None, "no absolute"),
    ],
)
def test_each_wrong_path_has_its_own_words(path: str, computer: str | None, words: str) -> None:
    with pytest.raises(Refused) as caught:
        read_path({"path": path, "computer": computer})
    (problem,) = caught.value.problems
    assert words in problem.cause and problem.remedy and problem.option == "path"
    problem.message("host").encode("utf-8")


@pytest.mark.parametrize(
    ("path", "computer"),
    [
        ("C:\\nullable.ini", None),
        ("C:\\com10.ini", None),
        ("\\\\server\\share\\file.ini", None),
        ("%ProgramFiles%\\a.ini", None),
        ("%SystemRoot%\\a.ini", "EX1"),
        ("%windir%\\x\\a.ini", "EX1"),
    ],
)
def test_paths_that_are_taken(path: str, computer: str | None) -> None:
    assert read_path({"path": path, "computer": computer}) == path


# --- warnings --------------------------------------------------------------------------------------------------------


def test_warnings_are_about_what_the_task_touches() -> None:
    data = b"[S]\r\na=1\r\n" + b"[T]\r\n" + b"k=1\r\n" * 1311
    made = plan(data, sections={"S": {"a": "2"}})
    assert made.warnings == () and len(made.duplicates) == 1310
    touched = plan(data, sections={"T": {"k": "2"}})
    assert len(touched.warnings) == 4 and "1310" in touched.warnings[0]
    assert [f"line {line}:" in warning for line, warning in zip((5, 6, 7), touched.warnings[1:], strict=True)] == [
        True
    ] * 3
    assert plan(data, sections={"T": {"other": "2"}}).warnings == ()
    assert plan(data, sections={"T": {"k": ["1"] * 1311}}).warnings[0].count("list") == 1
