# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The diff of an INI file: all of it, except what is to be hidden."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.diff import unified_diff
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.edits import SetKey
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.redact import Redactor
from tests.oracle.strategies import SECTION_NAMES, Grammar, encoded


def diff_of(before: bytes, after: bytes, **how: t.Any) -> dict[str, str]:
    """The diff of a file's bytes."""
    return unified_diff(Document.parse(before), Document.parse(after), **how)


FILES = encoded(Grammar("\xe9", nul=False), "cp1252")


def test_both_texts_with_one_line_feed_per_line() -> None:
    diff = diff_of(b"[S]\r\na=1\r\n", b"[S]\r\na=2\r\nb=\xe9", path="C:\\a.ini")
    assert diff == {
        "before": "[S]\na=1\n",
        "after": "[S]\na=2\nb=\xe9",
        "before_header": "C:\\a.ini",
        "after_header": "C:\\a.ini",
    }


def test_headers_tell_what_the_text_cannot_show() -> None:
    after = b"\xff\xfe" + "[S]\n".encode("utf-16-le")
    diff = diff_of(b"[S]\r\n", after, path="a.ini")
    assert diff["before"] == diff["after"] == "[S]\n"
    assert diff["before_header"] == "a.ini (cp1252, line ends CRLF)"
    assert diff["after_header"] == "a.ini (utf-16-le with byte order mark, line ends LF)"


def test_a_new_file_has_an_empty_side_and_plain_headers() -> None:
    diff = diff_of(b"", b"[S]\r\n", path="a.ini")
    assert (diff["before"], diff["before_header"], diff["after_header"]) == ("", "a.ini", "a.ini")


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert diff_of(b"[S]\na=\x1b[2J\0\n", b"", path="a")["before"] == "[S]\na=\\x1b[2J\\x00\n"


def test_values_of_chosen_keys_are_hidden_and_a_change_of_them_still_shows() -> None:
    before = b"[Db]\nPassword = old\nUser=u\n;password=older\n[Mail]\npassword=same\n"
    after = b"[Db]\nPassword = new\nUser=u\n;password=older\n[Mail]\npassword=same\n"
    diff = diff_of(before, after, path="a", redact=["PASS*"])
    assert diff["before"] == ("[Db]\nPassword =<hidden>\nUser=u\n;password=<hidden>\n[Mail]\npassword=<hidden>\n")
    assert diff["after"] == (
        "[Db]\nPassword =<hidden, changed>\nUser=u\n;password=<hidden>\n[Mail]\npassword=<hidden>\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        b"Password\0x=hunter2",
        b"Pass\0word=hunter2",
        b"  passWORD\t=hunter2 = 3",
        b"[S] password=hunter2",
        b"[ S ]password = hunter2",
        b"; # password=hunter2",
        b"# password=hunter2",
        b"//password=hunter2",
        b"REM password=hunter2",
        b"; the old one was user=x, password=hunter2",
        b"[password=hunter2",
        b"password: hunter2",
        b"password:hunter2=",
        b"password: user=hunter2",
        b"password hunter2",
        b"password hunter2==",
        b"  Password\thunter2",
        b"; password hunter2",
        b"# password: hunter2",
        b"// 'password': 'hunter2'",
        b"; my password: hunter2",
        b"; user x password hunter2",
    ],
)
@pytest.mark.parametrize("pattern", ["password", "S/PASSWORD", "pass*"])
def test_a_secret_is_hidden_wherever_its_setting_stands(line: bytes, pattern: str) -> None:
    data = b"[S]\r\n" + line + b"\r\nq=1\r\n"
    diff = diff_of(data, data.replace(b"q=1", b"q=2"), path="a", redact=[pattern])
    for side in (diff["before"], diff["after"]):
        assert "hunter2" not in side and "<hidden>" in side
    assert "q=1" in diff["before"] and "q=2" in diff["after"]


def test_other_settings_of_a_comment_are_shown() -> None:
    text = "[S]\n;====\n; user=x, passwords=y, my pass word: z=1\nremote=1\n; password\npassword\nx = password: 1\n"
    assert diff_of(text.encode(), b"", path="a", redact=["password", "mote"])["before"] == text


def test_a_setting_that_is_a_section_line_is_hidden() -> None:
    diff = diff_of(b"[S]\n[password=hunter2]\nx=1\n", b"", path="a", redact=["password"])
    assert diff["before"] == "[S]\n[password=<hidden>\nx=1\n"


def test_a_name_of_several_words_and_a_value_without_a_name() -> None:
    text = b"[S]\n; the db password x1\ndb password=x2\n=x3\n; db  password x4\npassword=5\n"
    diff = diff_of(text, b"", path="a", redact=["db password"])
    assert diff["before"] == (
        "[S]\n; the db password <hidden>\ndb password=<hidden>\n=<hidden>\n; db  password x4\npassword=5\n"
    )


def test_what_a_swallowed_line_end_joins_is_hidden() -> None:
    data = b"[S]\na=1\x81\npassword=hunter2\nb=2\n"
    document = Document.parse(data, encoding="cp932")
    assert document.lines[1].raw == b"a=1\x81\npassword=hunter2"
    diff = unified_diff(document, document, path="a", redact=["password"])
    assert diff["before"] == "[S]\n<hidden>\nb=2\n"


def test_moved_and_repeated_secrets_are_compared_in_their_order() -> None:
    diff = diff_of(b"[S]\np=1\np=2\n", b"[S]\nx=0\np=1\np=3\n", path="a", redact=["p"])
    assert diff["after"] == "[S]\nx=0\np=<hidden>\np=<hidden, changed>\n"


@pytest.mark.parametrize(
    ("section", "key", "pattern", "hidden"),
    [
        ("S", "Password", "password", True),
        ("S", "Password", "*WORD", True),
        ("S", "Password", "s/*", True),
        ("S", "Password", "t/password", False),
        ("S", "Passwords", "password", False),
        ("\xc9", "a", "\xe9/a", True),
        ("S", "# Password", "password", True),
        ("S", "rem Password", "s/password", True),
        ("S", "# Password", "# pass*", True),
    ],
)
def test_patterns(section: str, key: str, pattern: str, hidden: bool) -> None:
    assert Redactor([pattern]).hides(section, key) is hidden


@settings(max_examples=200, deadline=None)
@given(FILES, st.sampled_from(SECTION_NAMES), st.sampled_from(("token", "Token", "TOKEN")))
def test_a_hidden_value_is_nowhere_in_the_diff(data: bytes, section: str, key: str) -> None:
    secret = "s3cr3t-\xe9"
    after = Document.parse(data).apply([SetKey(section, key, secret)])
    for old, new in ((data, bytes(after)), (bytes(after), data), (bytes(after), bytes(after))):
        diff = diff_of(old, new, path="a.ini", redact=["token"])
        assert secret not in "".join(diff.values())


@settings(max_examples=200, deadline=None)
@given(FILES, FILES)
def test_without_redaction_every_line_is_there(before: bytes, after: bytes) -> None:
    diff = diff_of(before, after, path="a")
    assert diff["after"].count("\n") == sum(bool(line.eol) for line in Document.parse(after).lines)


@pytest.mark.parametrize("doubled", [False, True])
def test_rows_and_lines_are_one_to_one_whatever_the_ends(doubled: bool) -> None:
    """A row too few would hide the neighbour of a secret, and show the secret."""
    for ends in itertools.product(("\r\r\n", "\r\n", "\n", "\r"), repeat=4):
        text = "".join(f"k{number}=v{end}" for number, end in enumerate(ends)) + "[x]\r\r\n" * 9 * doubled
        for data in (text, text.replace("k2=v", ""), text.replace("k1=v", "").replace("k2=v", "")):
            document = replace(Document.parse(data.encode()), doubled_cr=doubled)
            assert document.unix_text.count("\n") == sum(bool(line.eol) for line in document.lines), data
            hidden = unified_diff(document, document, path="a", redact=["k3"])
            assert "k3=v" not in hidden["before"], data
