# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The profile reader and the edits against a real kernel32: Wine's."""

from __future__ import annotations

import contextlib
import os
import typing as t
import zlib

import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.listeners import LISTENERS
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.section import PORTS
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini import document as ini
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.text import CODECS
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import wspcfg
from tests.oracle import upper_case
from tests.oracle.oracle import Oracle, Unavailable, code_page_tables, missing_tools, upper_case_table
from tests.oracle.strategies import Grammar, edits, encoded, with_noise
from tests.support.inspections import Described, Replay, session
from tests.support.options import options_of

if t.TYPE_CHECKING:
    from collections.abc import Iterator

if missing_tools():
    pytest.skip(f"THE ORACLE WAS NOT ASKED, nothing here ran: {missing_tools()}", allow_module_level=True)

# More files than a usual run has: WSP_ORACLE_FACTOR=20, with other files each time.
FACTOR = int(os.environ.get("WSP_ORACLE_FACTOR", "1"))

PROFILE_BLANKS = " \t\n\v\f\r\x1a"
CP1252 = Grammar("\xe9\xdf\xa0\u20ac")
CP1251 = Grammar("\u0416\u0444\xa0\u2014")
# Second bytes 0x5C, 0x5D (zo) and 0x5B (the long vowel mark) among them, and one half-width letter.
CP932 = Grammar("\u8868\u30bd\u30be\u30fc\uff71\u3042")
UNICODE = Grammar("\xe9\u3000\u2028\u0416\U0001f4e7\u0130")
SIMPLE = Grammar("\xe9\u20ac", nul=False)


def ask_many(files: st.SearchStrategy[t.Any], check: t.Callable[[t.Any], None], *, count: int) -> None:
    """Run ``check`` on ``count`` generated examples, on fewer or on many of the same only if that is noticed."""
    seen = []

    @settings(
        max_examples=count * FACTOR,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(files)
    def run(example: t.Any) -> None:
        check(example)
        seen.append(repr(example))

    # The same files in every run, and others for every test, also where two use one grammar.
    name = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]
    (seed(zlib.crc32(name.encode()))(run) if FACTOR == 1 else run)()
    assert len(seen) >= count
    assert len(set(seen)) >= count * 4 // 5


@contextlib.contextmanager
def running(factory: pytest.TempPathFactory, locale: str | None) -> Iterator[Oracle]:
    try:
        oracle = Oracle(factory.mktemp("oracle"), locale=locale)
    except Unavailable as error:
        pytest.skip(f"THE ORACLE WAS NOT ASKED with locale {locale}: {error}")
    try:
        yield oracle
    finally:
        oracle.close()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with running(tmp_path_factory, None) as made:
        assert made.code_page == 1252
        yield made


@pytest.fixture(scope="module")
def oracle_932(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with running(tmp_path_factory, "ja_JP") as made:
        assert made.code_page == 932
        yield made


@pytest.fixture(scope="module")
def oracle_1251(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with running(tmp_path_factory, "ru_RU") as made:
        assert made.code_page == 1251
        yield made


def expected_entries(document: ini.Document, section: str) -> tuple[str, ...]:
    """Return what GetPrivateProfileSection lists: every entry of the first such section, keys and bare text."""
    entries: list[str] = []
    inside = nameless = False
    done = False
    for line in document.lines:
        if line.kind == "header":
            done = done or inside
            inside = not done and line.reachable and ini.fold(line.name) == ini.fold(section)
            nameless = False
        elif inside and line.kind != "blank":
            # Of lines without a name that follow each other only the first is kept.
            drop = nameless and line.name_end == line.start
            nameless = line.kind != "comment" and not line.name
            if line.kind != "comment" and not drop and (line.name or line.kind == "key"):
                entries.append(f"{line.name}={line.raw_value}" if line.kind == "key" else line.name)
    return tuple(entries)


def agree(document: ini.Document, oracle: Oracle) -> None:
    """Compare all three profile functions with the engine's reading."""
    reading = ini.read_profile(document)
    wanted = [(section.name, key.name, key.value) for section in reading.sections for key in section.keys]
    answer = oracle.ask(bytes(document), [(section, key) for section, key, dummy in wanted])
    assert list(answer.asked) == [value for dummy, dummy, value in wanted]
    headers = tuple(line.name for line in document.lines if line.kind == "header" and line.name)
    assert tuple(section.name for section in answer.sections) == headers
    for section in answer.sections:
        if section.name != section.name.strip(PROFILE_BLANKS):
            continue  # cut at a NUL; GetPrivateProfileString, which trims what it is asked for, cannot find it
        found = reading.section(section.name)
        assert found is not None
        assert section.entries == expected_entries(document, found.name)
        for key in section.keys:
            # A key without a name is listed by a line "=x", but no program can ask Windows for it.
            assert not key.name or reading.get(section.name, key.name) == key.value


def fold_alike(document: ini.Document) -> bool:
    """Whether Wine, which folds ASCII only, compares the names of this file as Windows does."""
    names = {line.name for line in document.lines if line.name}
    return len({ini.fold(name) for name in names}) == len({_ascii_fold(name) for name in names})


def _ascii_fold(name: str) -> str:
    return "".join(character.lower() if character.isascii() else character for character in name)


def reader_check(oracle: Oracle, encoding: str) -> t.Callable[[bytes], None]:
    def check(data: bytes) -> None:
        document = ini.Document.parse(data, encoding=encoding)
        assert bytes(document) == data
        assume(fold_alike(document))
        agree(document, oracle)

    return check


def test_ansi_files_read_as_kernel32_reads_them(oracle: Oracle) -> None:
    files = with_noise(encoded(CP1252, "cp1252"), b"\x00\x1a\x81\x8d\xa0\xff=[]\r\n")
    ask_many(files, reader_check(oracle, "cp1252"), count=1800)


def test_arbitrary_bytes_read_as_kernel32_reads_them(oracle: Oracle) -> None:
    # Any byte anywhere, and those that mean something often enough that there are sections and keys.
    lines = (b"\n[S]\n", b"\r[T]\r", b"\na=", b"\rb =")
    telling = st.sampled_from((*lines, b"[", b"]", b"=", b"\r\n", b" ", b";", b"\0", b"\x1a", b"a"))
    rest = st.lists(st.one_of(telling, telling, st.binary(min_size=1, max_size=3)), min_size=8, max_size=40)
    start = st.sampled_from((b"", b"[S]\n", b"[S]\r"))
    files = st.tuples(start, rest.map(b"".join)).map(b"".join)
    with_sections = 0

    def check(data: bytes) -> None:
        nonlocal with_sections
        assume(ini.Document.parse(data).bom == b"")
        reader_check(oracle, "cp1252")(data)
        with_sections += any(section.keys for section in ini.read_profile(ini.Document.parse(data)).sections)

    ask_many(files, check, count=300)
    assert with_sections > 60


@pytest.mark.parametrize(("encoding", "mark"), [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")])
def test_unicode_files_read_as_kernel32_reads_them(oracle: Oracle, encoding: str, mark: bytes) -> None:
    ask_many(encoded(UNICODE, encoding, mark), reader_check(oracle, "auto"), count=400)


def test_japanese_files_read_as_kernel32_reads_them(oracle_932: Oracle) -> None:
    files = with_noise(encoded(CP932, "cp932"), b"\0\x81\x9f\xe0\xfc[]=\r\n;")
    ask_many(files, reader_check(oracle_932, "cp932"), count=500)


def test_russian_files_read_as_kernel32_reads_them(oracle_1251: Oracle) -> None:
    ask_many(encoded(CP1251, "cp1251"), reader_check(oracle_1251, "cp1251"), count=400)


def test_every_byte_and_pair_of_every_code_page_is_what_windows_has_there(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pages = [name for name in ini.ENCODINGS if name.startswith("cp")]
    tables = code_page_tables(tmp_path_factory.mktemp("pages"), pages)
    assert list(tables) == pages
    for page, table in tables.items():
        codec = CODECS[page]
        assert {raw for raw in table if codec.decode(raw) != table[raw]} == set()
        # What is read can be written again, unless it is the sign for pairs that are none.
        own = {character for character in table.values() if character not in (codec.unknown, "\r", "\n")}
        assert {character for character in own if codec.decode(codec.encode(character)) != character} == set()
        assert all(bool(codec.pair and codec.pair.match(raw)) is (len(raw) == 2) for raw in table)


def test_names_are_compared_by_the_upper_case_of_windows(tmp_path_factory: pytest.TempPathFactory) -> None:
    table = upper_case_table(tmp_path_factory.mktemp("upper"))
    assert upper_case.TARGET.read_text(encoding="ascii") == upper_case.text(table)
    every = [chr(code) for code in range(0x10000)]
    upper = [table.get(character, character) for character in every]
    assert len({(ini.fold(one), other) for one, other in zip(every, upper, strict=True)}) == len(set(upper))
    assert len({ini.fold(character) for character in every}) == len(set(upper))


MAKE: t.Mapping[str, t.Callable[..., ini.Edit]] = {
    "set": ini.SetKey,
    "remove_key": ini.RemoveKey,
    "remove_section": ini.RemoveSection,
    "add_section": ini.AddSection,
}
Model = dict[str, dict[str, str]]


def model_of(oracle: Oracle, data: bytes) -> Model:
    """Return the effective values that the oracle reads, by folded names."""
    model: Model = {}
    names: list[tuple[str, str]] = []
    for section in oracle.ask(data).sections:
        model[ini.fold(section.name)] = {}
        keys = (entry.partition("=")[0].strip(PROFILE_BLANKS) for entry in section.entries)
        names += [(section.name, key) for key in keys if key]
    for (section_name, key), value in zip(names, oracle.ask(data, names).asked, strict=True):
        if value is not None:
            model[ini.fold(section_name)][ini.fold(key)] = value
    return model


def apply_to_model(model: Model, edit: ini.Edit) -> None:
    section = ini.fold(edit.section.strip())
    if isinstance(edit, ini.RemoveSection):
        model.pop(section, None)
    elif isinstance(edit, ini.AddSection):
        model.setdefault(section, {})
    elif isinstance(edit, ini.SetKey):
        model.setdefault(section, {})[ini.fold(edit.key)] = edit.value
    else:
        model.get(section, {}).pop(ini.fold(edit.key.strip()), None)


def reachable(model: Model) -> Model:
    """Leave out what no program can ask for: names that a NUL cut behind a blank."""
    return {name: keys for name, keys in model.items() if name and name == name.strip(PROFILE_BLANKS)}


def edit_check(oracle: Oracle, encoding: str) -> t.Callable[[t.Any], None]:
    def check(example: tuple[bytes, list[ini.Edit], t.Any]) -> None:
        data, wanted, options = example
        document = ini.Document.parse(data, encoding=encoding)
        assume(fold_alike(document))
        model = model_of(oracle, data)
        for edit in wanted:
            apply_to_model(model, edit)
        try:
            edited = bytes(document.apply(wanted, **options))
        except ini.IniError as error:
            assert error.code == "encoding_cannot"  # the file ends inside a character
            assume(False)
        assert reachable(model_of(oracle, edited)) == reachable(model)

    return check


OPTIONS = st.fixed_dictionaries(
    {
        "duplicates": st.sampled_from(("keep", "remove")),
        "newline": st.sampled_from(("auto", "auto", "crlf", "lf")),
        "style": st.sampled_from(("file", "plain")),
    }
)
ODD_BYTES = b"\x00\x1a\x81\xff=[]\r\n"


@pytest.mark.parametrize(
    ("files", "values", "count"),
    [
        (with_noise(encoded(Grammar("\xe9\u20ac"), "cp1252"), ODD_BYTES), "\xe9\u20ac'\" ;#=[]\t\x0b\x0cab", 500),
        (encoded(Grammar("\u0416\u3000"), "utf-16-le", b"\xff\xfe"), "\u0416\u3000'\" ;\tab", 250),
        (encoded(Grammar("\u0416\u3000"), "utf-16-be", b"\xfe\xff"), "\u0416\u3000'\" ;\tab", 250),
    ],
    ids=["cp1252", "utf-16-le", "utf-16-be"],
)
def test_edits_read_back_as_wanted_and_nothing_else_changes(
    oracle: Oracle, files: st.SearchStrategy[bytes], values: str, count: int
) -> None:
    wanted = edits(SIMPLE, MAKE, st.text(st.sampled_from(values), max_size=6))
    ask_many(st.tuples(files, wanted, OPTIONS), edit_check(oracle, "auto"), count=count)


def test_japanese_edits_read_back_as_wanted(oracle_932: Oracle) -> None:
    letters = "\u8868\u30bd\u30be\u30fc"
    files = with_noise(encoded(Grammar(letters), "cp932"), b"\0\x81\xfc[]=\r\n")
    wanted = edits(SIMPLE, MAKE, st.text(st.sampled_from(f"{letters}'\" a"), max_size=5))
    ask_many(st.tuples(files, wanted, OPTIONS), edit_check(oracle_932, "cp932"), count=200)


def test_russian_edits_read_back_as_wanted(oracle_1251: Oracle) -> None:
    files = with_noise(encoded(CP1251, "cp1251"), b"\0\x98=[]\r\n")
    wanted = edits(SIMPLE, MAKE, st.text(st.sampled_from("\u0416\u0444'\" a"), max_size=5))
    ask_many(st.tuples(files, wanted, OPTIONS), edit_check(oracle_1251, "cp1251"), count=100)


def test_new_plain_files_read_the_same_by_kernel32_and_by_the_strict_reader(oracle: Oracle) -> None:
    values = st.sampled_from(("1", "110,119,143", "993:192.0.2.1,995:192.0.2.1", "0,1025-5000"))

    def check(wanted: list[ini.Edit]) -> None:
        data = bytes(ini.Document.new().apply(wanted, style="plain", duplicates="remove"))
        strict = ini.read_strict(ini.Document.parse(data))
        answer = oracle.ask(data)
        assert [finding.code for finding in strict.findings] == []
        assert {s.name: {k.name: k.value for k in s.keys} for s in strict.sections} == {
            s.name: {k.name: k.value for k in s.keys} for s in answer.sections
        }
        assert data[:1] in (b"", b"[")

    keys = st.sampled_from(("ServerBindTcpPorts", "ProxyBindIp", "Persistent", "KillOldSession", "Comment"))
    sections = st.sampled_from(("STORE", "Store", "DSAMAIN", "EMSMTA"))
    one = st.one_of(st.builds(ini.SetKey, sections, keys, values), st.builds(ini.RemoveKey, sections, keys))
    ask_many(st.lists(one, max_size=8), check, count=300)


def test_what_wspcfg_writes_reads_the_same_by_kernel32_and_by_the_strict_reader(oracle: Oracle) -> None:
    listeners = st.lists(st.sampled_from(("pop3", "pop3s", "imap4", "nntps", "ldap", "ldaps")), min_size=1, unique=True)
    kept = 0

    def check(example: tuple[bytes | None, list[str]]) -> None:
        nonlocal kept
        server = Described()
        server.files["bin"].content = example[0]
        options = options_of("wspcfg", listeners=example[1], proxy_address="192.0.2.10")
        result = wspcfg.run(session(Replay(server)), options, host="EX1", check=False)
        if result.get("failed"):
            return  # refused: what the file says is nothing to build on
        kept += 1
        data = server.files["bin"].content or b""
        owners = {row.owner.section for row in map(LISTENERS.__getitem__, example[1])}
        questions = [(owner, key) for owner in sorted(owners) for key in (PORTS, "Persistent", "KillOldSession")]
        strict = ini.read_strict(ini.Document.parse(data))
        values = tuple(strict.get(*question) for question in questions)
        assert None not in values
        assert oracle.ask(data, questions).asked == values
        for section in strict.sections:
            names = [(section.name, key.name) for key in section.keys]
            assert oracle.ask(data, names).asked == tuple(key.value for key in section.keys)

    ask_many(st.tuples(st.one_of(st.none(), encoded(SIMPLE, "cp1252")), listeners), check, count=300)
    assert kept > 100


class TestKnownDifferences:
    """Where Wine reads something else than Windows is documented to read; the engine follows Windows."""

    def test_wine_knows_the_utf_8_mark_and_windows_does_not(self, oracle: Oracle) -> None:
        # Windows loses a section on the first line of a file with this mark (the mark is three ANSI letters to it).
        data = b"\xef\xbb\xbf[S]\r\na=1\r\n[T]\r\nb=2\r\n"
        assert [section.name for section in oracle.ask(data).sections] == ["S", "T"]
        reading = ini.read_profile(ini.Document.parse(data))
        assert [section.name for section in reading.sections] == ["T"]
        assert [(finding.code, finding.line) for finding in reading.findings] == [("encoding_bom", 1)]

    def test_wine_answers_for_a_commented_key_and_windows_does_not(self, oracle: Oracle) -> None:
        # GetPrivateProfileSection's documentation: comments, lines that start with a semicolon, are stripped out.
        data = b"[S]\r\n;a=1\r\n"
        assert oracle.ask(data, [("S", ";a")]).asked == ("1",)
        assert ini.read_profile(ini.Document.parse(data)).get("S", ";a") is None

    def test_wine_folds_ascii_only_and_windows_every_letter(self, oracle: Oracle) -> None:
        # GetPrivateProfileString's documentation: the function is not case-sensitive.
        data = "[\xc9S]\r\n\xe9=1\r\n".encode("cp1252")
        assert oracle.ask(data, [("\xe9s", "\xe9"), ("\xc9S", "\xc9"), ("\xc9s", "\xe9")]).asked == (None, None, "1")
        assert ini.read_profile(ini.Document.parse(data)).get("\xe9s", "\xc9") == "1"

    def test_wine_reads_half_a_character_into_the_last_value(self, oracle: Oracle) -> None:
        # UTF-16 has no characters of one byte; the engine reads what is whole, and refuses to change that line.
        data = b"\xff\xfe" + "[S]\r\na=1".encode("utf-16-le") + b"\x41"
        assert oracle.ask(data, [("S", "a")]).asked == ("1A",)
        document = ini.Document.parse(data)
        assert ini.read_profile(document).get("S", "a") == "1"
        with pytest.raises(ini.IniError, match="inside a character"):
            document.apply([ini.SetKey("S", "b", "2")])
