# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The INI document: bytes kept, edits minimal, readers right."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.edits import (
    AddSection,
    Edit,
    RemoveKey,
    RemoveSection,
    SetKey,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.readers import (
    FINDINGS,
    Reading,
    read_profile,
    read_strict,
    read_text,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.text import ENCODINGS, IniError, Line, fold
from tests.oracle.strategies import SECTION_NAMES, Grammar, edits, encoded, with_noise

ALL = settings(max_examples=200, deadline=None)
MAKE: dict[str, t.Callable[..., Edit]] = {
    "set": SetKey,
    "remove_key": RemoveKey,
    "remove_section": RemoveSection,
    "add_section": AddSection,
}
CP1252 = Grammar("\xe9\xdf\xa0\u20ac")
SIMPLE = Grammar("\xe9\u20ac", nul=False)
FILES = st.one_of(
    with_noise(encoded(CP1252, "cp1252"), b"\x00\x1a\x81=[]\r\n"),
    encoded(Grammar("\u0416\u3000"), "utf-16-le", b"\xff\xfe"),
    encoded(Grammar("\u0416"), "utf-16-be", b"\xfe\xff"),
    encoded(Grammar("\xe9\u8868"), "utf-8", b"\xef\xbb\xbf"),
    st.binary(max_size=40),
)
VALUES = st.text(st.sampled_from("\xe9\u20ac'\" ;#=[]\tab1"), max_size=6)


def edited(data: bytes, *wanted: Edit, **options: t.Any) -> bytes:
    return bytes(Document.parse(data).apply(wanted, **options))


def values(reading: Reading) -> dict[str, dict[str, str]]:
    return {section.name: {key.name: key.value for key in section.keys} for section in reading.sections}


# --- bytes ---------------------------------------------------------------------------------------------------------


@ALL
@given(st.binary(max_size=200), st.sampled_from((*ENCODINGS, "auto", "ansi")))
def test_every_byte_survives_parsing_in_every_encoding(data: bytes, encoding: str) -> None:
    document = Document.parse(data, encoding=encoding)
    assert bytes(document) == data
    assert bytes(document.apply([])) == data
    lines = b"".join(line.raw + line.eol for line in document.lines)
    assert (document.bom + lines + data[len(document.bom) + len(lines) :]) == data


@ALL
@given(FILES)
def test_every_byte_of_a_near_valid_file_survives(data: bytes) -> None:
    assert bytes(Document.parse(data).apply([RemoveKey("absent", "absent")])) == data


@pytest.mark.parametrize(
    ("data", "encoding", "bom"),
    [
        (b"", "cp1252", b""),
        (b"[S]", "cp1252", b""),
        (b"\xef\xbb\xbf[S]", "utf-8", b"\xef\xbb\xbf"),
        (b"\xff\xfe[\0S\0]\0", "utf-16-le", b"\xff\xfe"),
        (b"\xfe\xff\0[\0S\0]", "utf-16-be", b"\xfe\xff"),
    ],
)
def test_the_byte_order_mark_names_the_encoding(data: bytes, encoding: str, bom: bytes) -> None:
    document = Document.parse(data, encoding="auto")
    assert (document.encoding, document.bom) == (encoding, bom)
    assert Document.parse(data, encoding="cp1251").encoding == (encoding if bom else "cp1251")


def test_an_unknown_encoding_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(IniError) as caught:
        Document.parse(b"", encoding="ebcdic")
    assert caught.value.code == "encoding_unknown"
    assert "cp1252" in caught.value.remedy


@pytest.mark.parametrize(
    ("data", "newline"),
    [(b"", "\r\n"), (b"a", "\r\n"), (b"a\nb\nc\r\n", "\n"), (b"a\rb\r", "\r"), (b"\xff\xfea\0\n\0", "\n")],
)
def test_dominant_newline(data: bytes, newline: str) -> None:
    assert Document.parse(data).newline == newline


# --- edits: what they touch ----------------------------------------------------------------------------------------

HAND_MADE = b"\r\n; mail\r\n[Store] \r\n      ServerBindTcpPorts =  110 \r\n\tPersistent=1\n\n; end\r\n[x]\r\n"


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        # the line keeps spelling, indentation, blanks around "=" and its own end of line
        (
            SetKey("STORE", "serverbindTCPports", "110,143"),
            b"      ServerBindTcpPorts =  110 \r\n",
            b"      ServerBindTcpPorts =  110,143\r\n",
        ),
        (SetKey("STORE", "persistent", "0"), b"\tPersistent=1\n", b"\tPersistent=0\n"),
        # a new key follows the last key, before blank lines and comments, in its manner
        (SetKey("STORE", "New", "9"), b"\tPersistent=1\n", b"\tPersistent=1\n\tNew=9\n"),
        (SetKey("x", "a", "1"), b"[x]\r\n", b"[x]\r\na =  1\r\n".replace(b"a =  1", b"      a =  1")),
        (RemoveKey("store", "PERSISTENT"), b"\tPersistent=1\n", b""),
        # comments after the last key stay when the section leaves
        (
            RemoveSection("sTORE"),
            b"[Store] \r\n      ServerBindTcpPorts =  110 \r\n\tPersistent=1\n\n; end\r\n",
            b"; end\r\n",
        ),
        (AddSection("STORE"), b"", b""),
        (RemoveKey("STORE", "absent"), b"", b""),
        (SetKey("STORE", "Persistent", "1"), b"", b""),
    ],
)
def test_one_edit_changes_one_place(edit: Edit, before: bytes, after: bytes) -> None:
    assert before in HAND_MADE
    assert edited(HAND_MADE, edit) == HAND_MADE.replace(before, after, 1)


@pytest.mark.parametrize(
    ("data", "wanted", "result"),
    [
        (b"", [SetKey("S", "a", "1")], b"[S]\r\na=1\r\n"),
        (b"[A]\nx=1\n", [SetKey("S", "a", "1")], b"[A]\nx=1\n[S]\na=1\n"),
        (b"[A]\nx=1", [SetKey("S", "a", "1")], b"[A]\nx=1\n[S]\na=1"),
        (b"[A]\r\nx=1\r\n\r\n[B]\r\n", [AddSection("C")], b"[A]\r\nx=1\r\n\r\n[B]\r\n\r\n[C]\r\n"),
        (b"[A]\nx = 1\n[B]\n", [SetKey("B", "y", "2")], b"[A]\nx = 1\n[B]\ny = 2\n"),
        (b"[A]\na=1\nb=2", [RemoveKey("A", "b")], b"[A]\na=1"),
        (b"[A]\na=1\nb=2", [SetKey("A", "a", "3")], b"[A]\na=3\nb=2"),
        (b"[A]\na =\nb=2\n", [SetKey("A", "a", "3")], b"[A]\na =3\nb=2\n"),
        (b"[A]\na = \n", [SetKey("A", "a", "3")], b"[A]\na = 3\n"),
        (b"[A]\na=1 ; old\n", [SetKey("A", "a", "2")], b"[A]\na=2\n"),
        # as wspcfg edits: no quotes that need not be
        (b'[A]\na="1"\n', [SetKey("A", "a", "2")], b"[A]\na=2\n"),
        (b"[A]\nx\ny=1\n", [SetKey("A", "x", "2")], b"[A]\nx=2\nx\ny=1\n"),
        (b"[A]\n;a=1\n", [SetKey("A", "a", "2")], b"[A]\na=2\n;a=1\n"),
        (b"[A\na=1\n", [SetKey("A", "a", "2")], b"[A\na=1\n[A]\na=2\n"),
        (b"[]\na=1\n", [SetKey("A", "a", "2")], b"[]\na=1\n[A]\na=2\n"),
        (b"[ A ] ; text\na=1\n", [SetKey("A", "a", "2")], b"[ A ] ; text\na=2\n"),
        (b"\xef\xbb\xbf[A]\na=1\n", [SetKey("A", "b", "\xe9")], b"\xef\xbb\xbf[A]\na=1\nb=\xc3\xa9\n"),
        (b"\xff\xfe[\0A\0]\0", [SetKey("A", "b", "1")], b"\xff\xfe" + "[A]\r\nb=1".encode("utf-16-le")),
    ],
)
def test_results_byte_for_byte(data: bytes, wanted: list[Edit], result: bytes) -> None:
    assert edited(data, *wanted) == result


def test_new_lines_follow_the_newline_option_and_old_lines_do_not() -> None:
    assert edited(b"[A]\na=1\n", SetKey("A", "b", "2"), newline="crlf") == b"[A]\na=1\nb=2\r\n"


def test_plain_style_indents_nothing() -> None:
    assert edited(b"[A]\r\n  a = 1\r\n", SetKey("A", "b", "2"), style="plain") == b"[A]\r\n  a = 1\r\nb=2\r\n"


def test_an_empty_utf_16_file_gets_its_mark_with_its_first_line() -> None:
    document = Document.parse(b"", encoding="utf-16-le")
    assert bytes(document.apply([])) == b""
    assert bytes(document.apply([AddSection("S")])) == b"\xff\xfe" + "[S]\r\n".encode("utf-16-le")


def test_the_odd_byte_of_a_damaged_utf_16_file_stays_at_its_end() -> None:
    data = b"\xff\xfe" + "[S]\r\n".encode("utf-16-le") + b"\x41"
    assert edited(data, SetKey("S", "a", "1")) == data[:-1] + "a=1\r\n".encode("utf-16-le") + b"\x41"


def test_nothing_is_put_after_half_a_character() -> None:
    document = Document.parse(b"[S]\na=1\nb=2\x81", encoding="cp932")
    with pytest.raises(IniError) as caught:
        document.apply([SetKey("S", "c", "1")])
    assert caught.value.code == "encoding_cannot"
    assert bytes(document.apply([SetKey("S", "a", "2")])) == b"[S]\na=2\nb=2\x81"


# Second bytes 0x5B, 0x5C and 0x5D, which are brackets and a backslash alone.
ZO, LONG, HYO = "\u30be", "\u30fc", "\u8868"


def test_brackets_inside_double_byte_characters_end_no_section_name() -> None:
    assert [character.encode("cp932")[1] for character in (LONG, HYO, ZO)] == [0x5B, 0x5C, 0x5D]
    for name in (ZO, LONG, HYO, f"{ZO}{LONG}{ZO}"):
        document = Document.parse(f"[{name}]\r\n{name}={name}\r\n".encode("cp932"), encoding="cp932")
        assert values(read_profile(document)) == {name: {name: name}}
        assert document.apply([SetKey(name, name, "x")]).text == f"[{name}]\r\n{name}=x\r\n"


def test_a_second_byte_that_looks_like_a_bracket_makes_no_section_line() -> None:
    document = Document.parse(f"[S]\r\n[{ZO}\r\na=1\r\n".encode("cp932"), encoding="cp932")
    assert values(read_profile(document)) == {"S": {"a": "1"}}


@pytest.mark.parametrize("encoding", ["cp932", "cp936", "cp949", "cp950"])
def test_a_lead_byte_takes_any_byte_but_a_nul_with_it(encoding: str) -> None:
    reading = read_profile(Document.parse(b"[S]\r\na=x\x81\x00y\r\nb\x81=1\r\nc=2\r\n", encoding=encoding))
    unknown = "\u30fb" if encoding == "cp932" else "?"
    assert values(reading) == {"S": {"a": f"x{unknown}", "c": "2"}}


@pytest.mark.parametrize(
    ("encoding", "raw", "text"),
    [
        ("cp936", b"\x80\xff\xaa\xa1\xfe\xfe", "\u20ac\uf8f5\ue000\ue4c5"),
        ("cp949", b"\xc9\xa1\xfe\xfe", "\ue000\ue0bb"),
        ("cp950", b"\xfa\x40\x81\x40\xc8\xfe", "\ue000\ueeb8\uf848"),
        ("cp874", b"\xdb\xff", "\uf8c1\uf8c8"),
        ("cp1253", b"\xaa\xd2\xff", "\uf8f9\uf8fa\uf8fb"),
        ("cp1255", b"\xca\xd9\xff", "\u05ba\uf88d\uf896"),
        ("cp1257", b"\xa1\xa5", "\uf8fc\uf8fd"),
    ],
)
def test_characters_that_windows_has_and_python_has_not(encoding: str, raw: bytes, text: str) -> None:
    document = Document.parse(b"[S]\r\na=" + raw + b"\r\n", encoding=encoding)
    assert read_profile(document).get("S", "a") == text
    assert document.apply([SetKey("S", "a", "x"), SetKey("S", "a", text)]) == document
    assert document.apply([SetKey("S", "a", "x")]).apply([SetKey("S", "a", text)]) == document


@pytest.mark.parametrize("last", ["[S]\r\na=1", "[S]"])
def test_no_other_line_is_put_before_half_a_character(last: str) -> None:
    data = b"\xff\xfe" + last.encode("utf-16-le") + b"\x41"
    for wanted in (SetKey("S", "a", "2"), SetKey("S", "b", "1"), AddSection("T"), RemoveSection("S")):
        with pytest.raises(IniError) as caught:
            edited(data, wanted)
        assert (caught.value.code, caught.value.line) == ("encoding_cannot", last.count("\n") + 1)
    assert edited(data, AddSection("s"), RemoveKey("s", "b")) == data
    first = b"\xff\xfe" + "[A]\nx=1\n".encode("utf-16-le")
    assert edited(first + data[2:], SetKey("A", "x", "2")) == first.replace(b"1", b"2") + data[2:]


# --- edits: duplicates ---------------------------------------------------------------------------------------------

TWICE = b"[A]\na=1\nA=2\n[B]\nb=1\n[a]\na=3\n; note\n"


@pytest.mark.parametrize(
    ("edit", "duplicates", "result"),
    [
        (SetKey("A", "a", "9"), "keep", b"[A]\na=9\nA=2\n[B]\nb=1\n[a]\na=3\n; note\n"),
        (SetKey("A", "a", "9"), "remove", b"[A]\na=9\n[B]\nb=1\n; note\n"),
        (SetKey("A", "a", "1"), "remove", b"[A]\na=1\n[B]\nb=1\n; note\n"),
        (RemoveKey("A", "a"), "keep", b"[A]\n[B]\nb=1\n[a]\na=3\n; note\n"),
        (RemoveSection("A"), "keep", b"[B]\nb=1\n; note\n"),
        (SetKey("B", "b", "9"), "remove", b"[A]\na=1\nA=2\n[B]\nb=9\n[a]\na=3\n; note\n"),
    ],
)
def test_duplicates(edit: Edit, duplicates: str, result: bytes) -> None:
    assert edited(TWICE, edit, duplicates=duplicates) == result


@pytest.mark.parametrize(
    ("data", "edit", "code", "line"),
    [
        (TWICE, SetKey("A", "a", "1"), "duplicate_section", 6),
        (TWICE, RemoveSection("a"), "duplicate_section", 6),
        (b"[A]\na=1\n\nA=2\n", SetKey("a", "A", "1"), "duplicate_key", 4),
        (b"[A]\na=1\n\nA=2\n", RemoveKey("a", "A"), "duplicate_key", 4),
    ],
)
def test_duplicates_fail_names_the_line(data: bytes, edit: Edit, code: str, line: int) -> None:
    with pytest.raises(IniError) as caught:
        edited(data, edit, duplicates="fail")
    assert (caught.value.code, caught.value.line) == (code, line)
    assert str(line) in caught.value.message


def test_duplicates_fail_ignores_names_that_are_not_edited() -> None:
    assert edited(TWICE, SetKey("B", "b", "2"), duplicates="fail") == TWICE.replace(b"b=1", b"b=2")


# --- edits: values and names that Windows would read back differently ------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("x", "x"),
        ("", ""),
        (" x", '" x"'),
        ("x\t", '"x\t"'),
        ("\xa0x", '"\xa0x"'),
        ('"x"', '""x""'),
        ("'x'", "\"'x'\""),
        ('"', '"""'),
        ('say "x"', 'say "x"'),
        ("'x\"", "'x\""),
        ("a=b ;c", "a=b ;c"),
        ("[x]", "[x]"),
    ],
)
def test_values_are_quoted_where_that_keeps_them(value: str, written: str) -> None:
    result = Document.new().apply([SetKey("S", "k", value)])
    assert result.text == f"[S]\r\nk={written}\r\n"
    assert read_profile(result).get("s", "K") == value


@pytest.mark.parametrize("value", ["a\rb", "a\n", "a\0b", "\x1a"])
def test_values_that_no_line_can_carry_are_refused(value: str) -> None:
    with pytest.raises(IniError) as caught:
        Document.new().apply([SetKey("S", "k", value)])
    assert caught.value.code == "bad_value"
    assert "U+00" in caught.value.message


@pytest.mark.parametrize("name", ["", " a", "a\t", "a=b", ";a", "[a", "a\r\nb", "a\0"])
def test_bad_key_names_are_refused(name: str) -> None:
    with pytest.raises(IniError) as caught:
        Document.new().apply([SetKey("S", name, "1")])
    assert caught.value.code == "bad_name"


def test_names_that_are_not_made_can_be_edited_where_they_stand() -> None:
    data = b"[a]b]\n[x=1\n\xa0y=1\n;z=1\n[[S]\nk=1\n[\xa0T]\nk=1\n"
    wanted = [SetKey("a]b", "[x", "2"), SetKey("A]B", "\xa0y", "2"), SetKey("[s", "k", "2"), SetKey("\xa0t", "k", "2")]
    assert edited(data, *wanted, AddSection("a]b")) == data.replace(b"=1", b"=2").replace(b";z=2", b";z=1")
    assert edited(data, RemoveKey("a]b", "[x"), RemoveSection("[S")) == data.replace(b"[x=1\n", b"").replace(
        b"[[S]\nk=1\n", b""
    )


def test_a_key_whose_line_would_become_a_section_line_is_refused() -> None:
    with pytest.raises(IniError) as caught:
        edited(b"[S]\n[x=1\n", SetKey("S", "[x", "a]"))
    assert caught.value.code == "bad_value"
    assert "[x of section [S]" in caught.value.message


@pytest.mark.parametrize("name", ["", " S", "S]", "[S", "a]b", "S\n", "S\0", "\xa0S"])
@pytest.mark.parametrize("make", [lambda name: SetKey(name, "a", "1"), AddSection])
def test_bad_section_names_are_refused(name: str, make: t.Callable[[str], Edit]) -> None:
    with pytest.raises(IniError) as caught:
        Document.new().apply([make(name)])
    assert caught.value.code == "bad_name"


@pytest.mark.parametrize("wanted", [SetKey("S", "a", "\u0416"), SetKey("S", "\u0416", "1"), AddSection("\u0416")])
def test_characters_that_the_encoding_lacks_are_refused(wanted: Edit) -> None:
    with pytest.raises(IniError) as caught:
        Document.new().apply([wanted])
    assert caught.value.code == "encoding_cannot"
    assert "U+0416" in caught.value.message
    assert "cp1252" in caught.value.message
    assert Document.new(encoding="cp1251").apply([wanted])


def test_an_undefined_byte_reads_as_windows_reads_it_and_can_be_written_again() -> None:
    document = Document.parse(b"[S]\na=\x81\x8d\n")
    value = read_profile(document).get("S", "a")
    assert value == "\x81\x8d"
    assert document.apply([SetKey("S", "a", "x"), SetKey("S", "a", value)]) == document


def test_a_refused_edit_leaves_the_document_as_it_was() -> None:
    document = Document.parse(b"[S]\na=1\n")
    with pytest.raises(IniError):
        document.apply([SetKey("S", "a", "2"), SetKey("S", "b", "\n")])
    assert bytes(document) == b"[S]\na=1\n"


# --- edits: properties -----------------------------------------------------------------------------------------------


@ALL
@given(FILES, edits(SIMPLE, MAKE, VALUES), st.sampled_from(("keep", "remove")))
def test_applying_twice_is_applying_once(data: bytes, wanted: list[Edit], duplicates: t.Any) -> None:
    try:
        once = Document.parse(data).apply(wanted, duplicates=duplicates)
    except IniError as error:
        assert error.code == "encoding_cannot"
        return
    assert once.apply(wanted, duplicates=duplicates) == once
    assert bytes(Document.parse(bytes(once)).apply(wanted, duplicates=duplicates)) == bytes(once)


@pytest.mark.parametrize(
    "wanted",
    [
        [RemoveSection(" S "), SetKey("S", "a", "1")],
        [RemoveKey("\tS", "x"), SetKey("S", "a", "1")],
        [SetKey("S", "a", "1"), RemoveKey("S ", " b")],
    ],
)
def test_blanks_around_what_is_removed_mean_the_same_name(wanted: list[Edit]) -> None:
    once = edited(b"[S]\r\na=1\r\nb=2\r\nx=3\r\n", *wanted)
    assert once.count(b"[") == 1
    assert edited(once, *wanted) == once
    assert values(read_profile(Document.parse(once)))["S"]["a"] == "1"


@ALL
@given(FILES, st.sampled_from(SECTION_NAMES))
def test_adding_and_removing_a_key_gives_the_file_back(data: bytes, section: str) -> None:
    document = Document.parse(data)
    added = document.apply([SetKey(section, "fresh key", "1"), SetKey(section, "fresh 2", " 2 ")])
    assert read_text(added).get(section, "fresh 2") == " 2 "
    undo: list[Edit] = [RemoveKey(section, "fresh 2"), RemoveKey(section, "fresh key")]
    if read_text(document).section(section) is None:
        undo = [RemoveSection(section)]
    assert bytes(added.apply(undo)) == data


NEWLINES = st.sampled_from(("auto", "crlf", "lf"))


@ALL
@given(FILES, NEWLINES)
def test_adding_and_removing_a_section_gives_the_file_back(data: bytes, newline: str) -> None:
    added = Document.parse(data).apply([AddSection("fresh"), SetKey("fresh", "a", "1")], newline=newline)
    assert values(read_text(added))["fresh"] == {"a": "1"}
    assert bytes(added.apply([RemoveSection("fresh")], newline=newline)) == data


def test_a_blank_line_that_is_added_stays_one_after_a_lone_carriage_return() -> None:
    data = b"\r[Store]\r\r"
    added = edited(data, AddSection("S"), newline="lf")
    assert added == b"\r[Store]\r\r\r[S]\n"
    assert edited(added, RemoveSection("S"), newline="lf") == data


@ALL
@given(FILES, VALUES.filter(lambda v: v.isascii()), st.data())
def test_editing_one_key_changes_at_most_one_line(data: bytes, value: str, draw: st.DataObject) -> None:
    document = Document.parse(data)
    there = [(section.name, key.name) for section in read_text(document).sections for key in section.keys]
    assume(there)
    section, key = draw.draw(st.sampled_from(there))
    try:
        changed = document.apply([SetKey(section, key, value)])
    except IniError as error:
        assert (error.code, key[:1], "]" in value) == ("bad_value", "[", True)
        return
    assert read_text(changed).get(section, key) == value
    before, after = ([line.raw + line.eol for line in side.lines] for side in (document, changed))
    assert len(before) == len(after)
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 1


@ALL
@given(FILES, edits(SIMPLE, MAKE, VALUES))
def test_lines_that_no_edit_names_stay(data: bytes, wanted: list[Edit]) -> None:
    document = Document.parse(data)
    try:
        rest = iter([line.raw for line in document.apply(wanted).lines])
    except IniError as error:
        assert error.code == "encoding_cannot"
        return
    named = {fold(edit.section.strip()) for edit in wanted}
    removed = {fold(edit.section.strip()) for edit in wanted if isinstance(edit, RemoveSection)}
    for name, lines in blocks_of(document):
        entries = [at for at, line in enumerate(lines) if line.kind in ("header", "key", "text")]
        for at, line in enumerate(lines):
            # Comments inside a section that leaves go with it, those after its last key stay.
            stays = name not in named or (line.kind == "comment" and (name not in removed or at > entries[-1]))
            assert not line.raw or not stays or line.raw in rest, (name, line.raw)


def blocks_of(document: Document) -> list[tuple[str, list[Line]]]:
    """Return the sections' folded names and lines, header first; what comes before them has no name."""
    blocks: list[tuple[str, list[Line]]] = [("", [])]
    for line in document.lines:
        if line.kind == "header":
            blocks.append((fold(line.name), []))
        blocks[-1][1].append(line)
    return blocks


# --- readers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[S]\na=1\na=2\n[s]\na=3\nb=4\n", {"S": {"a": "1"}}),
        (b" [ S ] x\n a b = c d \n", {"S": {"a b": "c d"}}),
        (b"[S]x]\na=1\n", {"S]x": {"a": "1"}}),
        (b"[S\na=1\n", {}),
        (b"a=1\n[S]\n", {"S": {}}),
        (b"[S]\na\na=1\nb=2\n", {"S": {"b": "2"}}),
        (b"[S]\n;a=1\n ; b=1\n#c=1\n=d\n", {"S": {"#c": "1"}}),
        (b"[S]\na='x'\nb=\"x'\nc='\nd=''\n", {"S": {"a": "x", "b": "\"x'", "c": "'", "d": ""}}),
        (b"[S]\na=1\0b\nc\0d=2\n", {"S": {"a": "1", "c": "2"}}),
        (b"[S]\ra=1\r\rb=2\n\nc=\x1a3\x1a", {"S": {"a": "1", "b": "2", "c": "3"}}),
        (b"[]\na=1\n", {}),
    ],
)
def test_profile_reader(data: bytes, expected: dict[str, dict[str, str]]) -> None:
    assert values(read_profile(Document.parse(data))) == expected


@pytest.mark.parametrize(
    ("name", "other", "equal"),
    [
        ("store", "STORE", True),
        ("\xe9", "\xc9", True),
        ("\u0436", "\u0416", True),
        ("\u03c2", "\u03c3", False),
        ("\xff", "\u0178", True),
        ("\u01c5", "\u01c4", False),
        ("\U00010428", "\U00010400", False),
        ("\xdf", "SS", False),
        ("\u0131", "i", False),
        ("\u017f", "s", False),
        ("\xb5", "\u039c", False),
    ],
)
def test_names_are_compared_as_windows_compares(name: str, other: str, equal: bool) -> None:
    assert (fold(name) == fold(other)) is equal


def test_lookups_trim_what_they_are_asked_for() -> None:
    reading = read_profile(Document.parse(b"[S]\na=1\n"))
    assert reading.get(" s ", "\tA ") == "1"
    assert reading.get("S", "b") is None
    assert reading.get("T", "a") is None


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"[S]\r\na=1\r\n", []),
        (b"[S]\na=1\x00\n", ["ambiguous_control@2"]),
        (b"[S]\na=1\na=1\n", ["ambiguous_duplicate_key@3"]),
        (b"[S]\na=1\n[T]\n[s]\n", ["ambiguous_duplicate_section@4"]),
        (b"[S ]\na=1\n", ["ambiguous_header@1"]),
        (b" [S]\na=1\n", ["ambiguous_header@1"]),
        (b"[S]\ra=1\n", ["ambiguous_newline@1"]),
        (b'[S]\na="x"\n', ["ambiguous_quotes@2"]),
        (b"[S]\na=x ; y\n", ["ambiguous_text@2"]),
        (b"[S]\na\n", ["ambiguous_text@2"]),
        (b"[S]\n#a=1\n", ["ambiguous_text@2"]),
        (b"[S]\n\na=1\n", ["blank_line@2"]),
        (b"\xef\xbb\xbf[S]\n", ["encoding_bom@1"]),
        (b"\xff\xfe[\0S\0]\0", ["encoding_unicode@1"]),
        (b"[S]\nServerBindTcpPorts=110,119 (plain)\n", ["prose_value@2"]),
        (b"; mail\n[S]\n", ["text_before_section@1"]),
    ],
)
def test_every_strict_finding(data: bytes, codes: list[str]) -> None:
    reading = read_strict(Document.parse(data))
    assert [f"{finding.code}@{finding.line}" for finding in reading.findings] == codes
    assert all(finding.code in FINDINGS and finding.message for finding in reading.findings)


def plausible_readings(document: Document) -> t.Iterator[dict[tuple[str, str], str]]:
    """Read the file as many parsers that somebody may have written; an implementation of its own, for this test.

    They differ in which of two sections and of two keys count, in what is a section line, in quotes, and in whether
    text after a blank and a semicolon belongs to the value.
    """
    rows = [line.text.strip(" \t\x0b\x0c") for line in document.lines]
    indented = [line.text[:1] != "[" for line in document.lines]
    for sections, keys, header, quotes, comment in itertools.product(
        ("first", "last", "merge"),
        ("first", "last"),
        ("last ]", "first ]", "plain", "open"),
        (True, False),
        (True, False),
    ):
        seen: list[tuple[str, dict[str, str]]] = []
        for row, indent in zip(rows, indented, strict=True):
            name = header_name(row, indent, header)
            if name is not None:
                seen.append((name, {}))
            elif not row.startswith(";") and "=" in row and seen:
                key, value = (part.strip() for part in row.split("=", 1))
                value = value.split(" ;")[0].split(" #")[0].strip() if comment else value
                if quotes and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                    value = value[1:-1]
                entries = seen[-1][1]
                if keys == "last" or key.lower() not in entries:
                    entries[key.lower()] = value
        yield flatten(seen, sections, keys)


def header_name(row: str, indent: bool, rule: str) -> str | None:
    if not row.startswith("["):
        return None
    if rule == "plain":
        plain = not indent and row.endswith("]") and "[" not in row[1:] and "]" not in row[:-1]
        return row[1:-1].lower() if plain and row[1:-1].strip() == row[1:-1] else None
    if "]" not in row:
        return row[1:].split("=")[0].strip().lower() if rule == "open" else None
    cut = row.rindex("]") if rule == "last ]" else row.index("]")
    return row[1:cut].strip().lower()


def flatten(seen: list[tuple[str, dict[str, str]]], sections: str, keys: str) -> dict[tuple[str, str], str]:
    result: dict[tuple[str, str], str] = {}
    for name, entries in seen:
        known = {key for key in result if key[0] == name}
        first_of_name = not any(other == name for other, dummy in seen[: seen.index((name, entries))])
        if sections == "first" and not first_of_name:
            continue
        if sections == "last":
            result = {key: value for key, value in result.items() if key not in known}
        for key, value in entries.items():
            if keys == "last" or (name, key) not in result:
                result[name, key] = value
    return result


PLAIN = Grammar("xyz", nul=False)
# Half of them near enough to what the strict reader accepts that it holds something in force.
ASCII = st.one_of(PLAIN.tidy().map(str.encode), encoded(PLAIN, "ascii"))


@settings(max_examples=600, deadline=None)
@given(ASCII)
def test_what_the_strict_reader_holds_in_force_every_plausible_parser_reads(data: bytes) -> None:
    document = Document.parse(data)
    reading = read_strict(document)
    sure = {(fold(s.name), fold(k.name)): k.value for s in reading.sections for k in s.keys}
    for other in plausible_readings(document):
        assert sure.items() <= other.items()


@settings(max_examples=600, deadline=None)
@given(ASCII)
def test_without_a_finding_the_strict_reader_reads_what_windows_reads(data: bytes) -> None:
    document = Document.parse(data)
    strict, profile = read_strict(document), read_profile(document)
    if not any(
        f.code.startswith("ambiguous") or f.code in ("prose_value", "encoding_unicode") for f in strict.findings
    ):
        assert values(strict) == values(profile)
    for section in strict.sections:
        for key in section.keys:
            assert profile.get(section.name, key.name) == key.value


# --- conversion ------------------------------------------------------------------------------------------------------


def test_conversion_to_ansi_drops_mark_and_blank_lines_and_writes_crlf() -> None:
    data = b"\xff\xfe" + "\n[STORE]\n\nServerBindTcpPorts=110\n; caf\xe9".encode("utf-16-le")
    converted = Document.parse(data).convert(newline="crlf", blank_lines=False)
    assert bytes(converted) == b"[STORE]\r\nServerBindTcpPorts=110\r\n; caf\xe9"


def test_conversion_names_the_line_of_a_character_that_does_not_exist_there() -> None:
    document = Document.parse(b"\xef\xbb\xbf[S]\n; \xd0\x96\n")
    with pytest.raises(IniError) as caught:
        document.convert(encoding="ansi")
    assert (caught.value.code, caught.value.line) == ("encoding_cannot", 2)
    assert "line 2" in caught.value.message


@ALL
@given(encoded(SIMPLE, "cp1252"), st.sampled_from(("utf-16-le", "utf-16-be", "utf-8")))
def test_conversion_there_and_back_is_identity(data: bytes, encoding: str) -> None:
    document = Document.parse(data)
    assert bytes(document.convert(encoding=encoding).convert(encoding="ansi")) == data


@ALL
@given(encoded(SIMPLE, "cp1252"))
def test_conversion_keeps_the_reading(data: bytes) -> None:
    document = Document.parse(data)
    assert values(read_profile(document.convert(encoding="utf-16-le"))) == values(read_profile(document))
