# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No file is damaged by a wrong guess about its encoding: an edit is refused, or every other line keeps its bytes."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.encoding import ENCODING_FINDINGS, judge
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.text import ENCODINGS
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.win_ini_plan import IniPlan, plan_ini
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.wishes import read_ini_wanted
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Problem, Refused
from tests.oracle.strategies import Grammar, encoded, with_noise
from tests.support.options import options_of

SECTION, KEY = "[S]\r\nKey=1\r\n", "Key"
JAPANESE = "[S]\r\nKey=1\r\n\u540d\u524d=\u300c\u5024\u300d\u300c\u4e8c\u300d\r\n"
MARKS = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def plan(data: bytes | None, **options: t.Any) -> IniPlan:
    return plan_ini(read_ini_wanted(options_of("win_ini", path="C:\\a.ini", **options)), data)


def refused(data: bytes, **options: t.Any) -> Problem:
    with pytest.raises(Refused) as caught:
        plan(data, **{"sections": {"S": {KEY: "2"}}, **options})
    (problem,) = caught.value.problems
    return problem


def codes(data: bytes, encoding: str = "auto") -> list[str]:
    return [finding.code for finding in judge(data, encoding).findings]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [SECTION, JAPANESE, "[S]\n\u300d=\u300d\u300d\u300d\n", "[Section]", "a=b"])
@pytest.mark.parametrize("option", ["auto", "cp1252", "cp437", "utf-8", "cp932"])
def test_utf_16_without_a_mark_is_refused_with_the_option_that_is_right(order: str, text: str, option: str) -> None:
    data = text.encode(order)
    problem = refused(data, encoding=option)
    assert (problem.code, problem.option, problem.value) == ("encoding_utf_16_unmarked", "encoding", option)
    assert f"encoding to {order}" in problem.remedy and "NUL" in problem.cause
    assert codes(data, option) == ["encoding_utf_16_unmarked"]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [SECTION, JAPANESE, "[S]\n\u300d=\u300d\u300d\u300d\nKey=1\n"])
def test_utf_16_without_a_mark_is_edited_when_it_is_named(order: str, text: str) -> None:
    data = text.encode(order)
    made = plan(data, sections={"S": {KEY: "2"}}, encoding=order)
    assert bytes(made.after) == text.replace("Key=1", "Key=2").encode(order)
    other = "utf-16-be" if order == "utf-16-le" else "utf-16-le"
    assert f"encoding to {order}" in refused(data, encoding=other).remedy


@pytest.mark.parametrize("option", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "data", [b"[S]\r\nKey=1\r\n", b"[S]\nKey=\xe9\xe8\n", b"Key=1", b"hello!", JAPANESE.encode("cp932")]
)
def test_single_bytes_are_no_utf_16(option: str, data: bytes) -> None:
    problem = refused(data, encoding=option)
    assert (problem.code, problem.option, problem.value) == ("encoding_wrong", "encoding", option)
    assert "auto" in problem.remedy
    assert codes(data, option) == ["encoding_wrong"]


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (MARKS["utf-8"] + SECTION.encode("utf-16-le"), "encoding_mark_wrong", 1),
        (MARKS["utf-8"] + MARKS["utf-16-le"] + SECTION.encode("utf-16-le"), "encoding_mark_wrong", 1),
        (MARKS["utf-16-le"] + SECTION.encode("utf-16-be"), "encoding_mark_wrong", 1),
        (MARKS["utf-16-le"] + b"[S]\r\nKey=1\r\n", "encoding_mark_wrong", 1),
        (MARKS["utf-16-be"] + b"[S]\nKey=1\n", "encoding_mark_wrong", 1),
        (MARKS["utf-8"] + b"[S]\r\nKey=\xe9 \xe8 \xe0\r\n", "encoding_undecodable", 2),
        (MARKS["utf-8"] * 2 + b"[S]\r\nKey=1\r\n", "encoding_mark_inside", 1),
        (b"[S]\r\nKey=1\r\n" + MARKS["utf-8"] + b"[T]\r\n", "encoding_mark_inside", 3),
        (b"[S]\r\nKey=1\r\n" + MARKS["utf-16-le"] + "[T]\r\n".encode("utf-16-le"), "encoding_mark_inside", 3),
        (b"[S]\r\nKey=1" + MARKS["utf-16-be"] + "[T]\r\n".encode("utf-16-be"), "encoding_mark_inside", 2),
        ((MARKS["utf-16-le"] + SECTION.encode("utf-16-le")) * 2, "encoding_mark_inside", 3),
        (MARKS["utf-16-le"] * 2 + SECTION.encode("utf-16-le"), "encoding_mark_inside", 1),
    ],
)
def test_marks_that_are_wrong_or_stand_twice_are_refused_with_the_line(data: bytes, code: str, line: int) -> None:
    problem = refused(data)
    assert (problem.code, problem.option) == (code, "encoding")
    assert f"line {line}:" in problem.cause and problem.remedy
    assert [(finding.code, finding.line) for finding in judge(data, "auto").findings if finding.code == code] == [
        (code, line)
    ]


@pytest.mark.parametrize(
    ("data", "encoding", "code", "line"),
    [
        (b"[S]\nKey=1\nb=\xe9 \xe8\n", "utf-8", "encoding_undecodable", 3),
        (b"[S]\nKey=1\nb=caf\xe9\n", "utf-8", "encoding_undecodable", 3),
        (b"[S]\nKey=1\nb=\x81\nc=2\n", "cp932", "encoding_swallows_line_end", 3),
        (b"[S]\r\nKey=1\r\nb=\xe9\r\nc=2\r\n", "cp936", "encoding_swallows_line_end", 3),
        (b"[S]\nKey=1\nb=\x81\x20\x81\x21\n", "cp949", "encoding_undecodable", 3),
    ],
)
def test_a_page_under_which_the_file_does_not_decode_is_refused(
    data: bytes, encoding: str, code: str, line: int
) -> None:
    problem = refused(data, encoding=encoding)
    assert (problem.code, problem.option, problem.value) == (code, "encoding", encoding)
    assert f"line {line}:" in problem.cause
    assert (code, line) in [(finding.code, finding.line) for finding in judge(data, encoding).findings]


@pytest.mark.parametrize(
    ("data", "encoding", "code", "line"),
    [
        (b"[S]\nKey=1\nb=\0x\nc=2\n", "auto", "nul", 3),
        (b"[S]\nKey=1\n\n\0\0\0\0", "auto", "nul", 4),
        (b"[S]\r\nKey=1\r\nb=\xe3\x81\r\n", "utf-8", "encoding_half_character", 3),
        (MARKS["utf-8"] + b"[S]\r\nKey=1\r\nb=\xe9\r\n", "auto", "encoding_half_character", 3),
        (b"[S]\nKey=1\nb=2\x81", "cp932", "encoding_half_character", 3),
        (b"[S]\nKey=1\nb=\x81\x20\n", "cp932", "encoding_half_character", 3),
        (
            MARKS["utf-16-le"] + "[S]\nKey=1\nb=".encode("utf-16-le") + b"\x00\xd8\n\0",
            "auto",
            "encoding_half_character",
            3,
        ),
        (MARKS["utf-16-le"] + "[S]\nKey=1\nb=2".encode("utf-16-le") + b"A", "auto", "encoding_half_character", 3),
        (MARKS["utf-16-le"] + "[S]\nKey=1\nb=\0c\n".encode("utf-16-le"), "auto", "nul", 3),
    ],
)
def test_a_lone_nul_or_half_a_character_stays_editable(data: bytes, encoding: str, code: str, line: int) -> None:
    made = plan(data, sections={"S": {KEY: "2"}}, encoding=encoding)
    one, two = (("Key=" + digit).encode(made.after.encoding) for digit in "12")
    assert bytes(made.after) == data.replace(one, two)
    assert (code, line) in [(row["code"], row["line"]) for row in made.findings]
    assert not any(f"line {line}" in warning for warning in made.warnings)


# --- UTF-8 without a mark ------------------------------------------------------------------------------------------

UNMARKED = "[Gr\xf6\xdfe]\r\nBreite=1\r\nH\xf6he=2\r\n".encode()


def test_utf_8_without_a_mark_is_seen_and_names_match() -> None:
    made = plan(UNMARKED, sections={"GR\xd6\xdfE": {"h\xf6he": "3", "Tiefe": "4"}})
    assert bytes(made.after) == UNMARKED.replace(b"he=2\r\n", b"he=3\r\nTiefe=4\r\n")
    assert [row["code"] for row in made.findings] == ["encoding_utf_8_unmarked"]
    assert made.after.encoding == "utf-8"
    assert not plan(UNMARKED, sections={"Gr\xf6\xdfe": {"Breite": "1"}}).changed


@pytest.mark.parametrize(
    "wish",
    [
        {"sections": {"Gr\xf6\xdfe": {"Breite": "\xe9"}}},
        {"sections": {"Gr\xf6\xdfe": {"L\xe4nge": "1"}}},
        {"sections": {"\xdcber": {}}},
    ],
)
def test_text_beyond_ascii_needs_the_encoding_from_the_user(wish: dict[str, t.Any]) -> None:
    problem = refused(UNMARKED, **wish)
    assert (problem.code, problem.option, problem.value) == ("encoding_unsure", "encoding", "auto")
    assert "encoding to utf-8" in problem.remedy
    made = plan(UNMARKED, encoding="utf-8", **wish)
    assert made.changed and bytes(made.after).decode("utf-8")


def test_one_sequence_alone_is_no_evidence_and_a_named_page_stays() -> None:
    one = "[S]\r\na=\xe9\r\n".encode()
    assert codes(one) == []
    assert judge(one, "auto").document.encoding == "cp1252"
    assert judge(UNMARKED, "cp1252").document.encoding == "cp1252"
    assert codes(UNMARKED, "cp1252") == codes(UNMARKED, "utf-8") == ["encoding_utf_8_unmarked"]
    assert codes(UNMARKED + b"; \xe9\r\n") == []


def test_pairs_of_code_page_936_alone_are_not_taken_for_utf_8() -> None:
    leads, trails = range(0x81, 0xFF), [*range(0x40, 0x7F), *range(0x80, 0xFF)]
    alike = 0
    for pair in (bytes((lead, trail)) for lead in leads for trail in trails):
        try:
            alike += len(pair.decode("utf-8")) == 1
        except UnicodeDecodeError:
            continue
        assert judge(b"[S]\r\na=" + pair + b"\r\n", "auto").document.encoding == "cp1252"
    assert alike > 1500


# --- what is odd, and no reason to refuse ----------------------------------------------------------------------------


def test_big_endian_is_a_finding() -> None:
    made = plan(MARKS["utf-16-be"] + SECTION.encode("utf-16-be"), sections={"S": {KEY: "2"}})
    assert [row["code"] for row in made.findings] == ["encoding_big_endian"] and made.changed


def test_doubled_line_ends_are_kept_for_new_lines() -> None:
    data = b"[S]\r\r\nKey=1\r\r\n\r\r\n[T]\r\r\n"
    made = plan(data, sections={"S": {KEY: "2", "New": "3"}, "U": {"a": "1"}})
    assert bytes(made.after) == (b"[S]\r\r\nKey=2\r\r\nNew=3\r\r\n\r\r\n[T]\r\r\n\r\r\n[U]\r\r\na=1\r\r\n")
    assert [row["code"] for row in made.findings] == ["newline_doubled"]
    assert made.after.newline == "\r\r\n"


def test_plain_files_have_no_finding() -> None:
    for name in ENCODINGS:
        text = SECTION + ("; \u8868\u30bd\r\n" if name in ("cp932", "utf-8") else "")
        data = (MARKS.get(name, b"") if name != "utf-8" else b"") + text.encode(name)
        expected = {"utf-16-be": ["encoding_big_endian"], "utf-8": ["encoding_utf_8_unmarked"]}.get(name, [])
        assert codes(data, name) == expected, name
        assert judge(data, name).refusal is None, name
    assert codes(b"") == codes(b"", "utf-16-le") == []


# --- the property ----------------------------------------------------------------------------------------------------

LETTERS = {
    "cp1252": "\xe9\xdf",
    "cp1251": "\u0416\u0444",
    "cp932": "\u8868\u30bd\u30be\u30fc",
    "utf-8": "\xe9\u8868\u0416",
}
TEXTS = {
    name: st.one_of(
        with_noise(
            encoded(Grammar(LETTERS.get(name, "\u300d\u0a0d\u540d\xe9"), nul=False), name), b"\0\x81\xff\xfe=[]\r\n"
        ),
        encoded(Grammar(LETTERS.get(name, "\u300d\u540d\xe9"), nul=False), name, MARKS.get(name, b"")),
    )
    for name in (*LETTERS, "utf-16-le", "utf-16-be")
}
OPTIONS = st.sampled_from(("auto", *ENCODINGS))


def lines_of(data: bytes, encoding: str) -> list[bytes]:
    return [line.raw for line in Document.parse(data, encoding=encoding).lines]


@settings(max_examples=600, deadline=None)
@given(st.one_of(*TEXTS.values(), st.binary(max_size=60)), OPTIONS, st.sampled_from(("2", "\xe9", "\u8868")))
def test_an_edit_is_refused_or_every_other_line_keeps_its_bytes(data: bytes, option: str, value: str) -> None:
    try:
        made = plan(data, sections={"STORE": {"a": value}, "fresh": {"x": "1"}}, encoding=option)
    except Refused as refusal:
        assert all(problem.option and problem.remedy for problem in refusal.problems if problem.code != "bad_value")
        return
    before, after = ([line.raw for line in side.lines] for side in (made.before, made.after))
    assert bytes(made.before) == data
    rest = iter(after)
    changed = {row["line"] for row in made.changes}
    assert all(raw in rest for number, raw in enumerate(before, 1) if number not in changed)


@settings(max_examples=600, deadline=None)
@given(st.data(), st.sampled_from(sorted(TEXTS)), OPTIONS)
def test_a_file_of_any_encoding_stays_one_whatever_is_said_about_it(
    draw: st.DataObject, truth: str, option: str
) -> None:
    """With the eyes of the encoding that the file really is in, nothing but what was asked for differs."""
    grammar = Grammar(LETTERS.get(truth, "\u300d\u540d\xe9"), nul=False)
    text = draw.draw(grammar.tidy())
    assume(text.encode(truth))
    data = (MARKS[truth] if truth in MARKS and draw.draw(st.booleans()) else b"") + text.encode(truth)
    try:
        made = plan(data, sections={"fresh": {"x": "1"}}, encoding=option)
    except Refused:
        return
    rest = iter(lines_of(bytes(made.after), truth))
    assert all(raw in rest for raw in lines_of(data, truth))
    added = Document.parse(bytes(made.after), encoding=truth)
    assert added.text_reading.get("fresh", "x") == "1"


def test_every_finding_is_explained() -> None:
    assert all(text and text[0] != " " for text in ENCODING_FINDINGS.values())
