# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated INI files: mostly near the valid ones, with every oddity that editors, copies and hands leave behind."""

from __future__ import annotations

import typing as t

from hypothesis import strategies as st

# Few names, so that sections and keys meet themselves again, in another case too.
SECTION_NAMES = ("STORE", "Store", "store", "DSAMAIN", "a b", "S", "s", "T1")
KEY_NAMES = (
    "ServerBindTcpPorts",
    "serverbindTCPports",
    "Persistent",
    "a",
    "A",
    "b b",
    "k.1",
    "#c",
    "x]",
    "Set Browsers",
)
VALUES = ("1", "110,119,143", "x y", "a=b", "\\\\PROXY-09\\mspclnt\\", "9;c", "[x]", "0 ; text", "C:\\a\\", "'", '"')
QUOTED = ("'x'", '"x"', "\"x'", '""', "''", '" x "', '"a" b', '""x""', '"a"b"')
BLANKS = ("", "", "", "", " ", "  ", "\t", " \t", "\x0b", "\x0c", "\x1a")


def often(common: st.SearchStrategy[str], rare: st.SearchStrategy[str], *, one_in: int = 6) -> st.SearchStrategy[str]:
    """Choose ``rare`` once in ``one_in`` times."""
    return st.integers(1, one_in).flatmap(lambda throw: rare if throw == 1 else common)


class Grammar:
    """Strategies of lines over the characters of one encoding.

    Args:
        letters: Characters beyond ASCII that the encoding has.
        nul: Whether NUL characters appear.
    """

    def __init__(self, letters: str, *, nul: bool = True) -> None:
        odd = "\0" if nul else ""
        self.noise = st.text(st.sampled_from("abS=[];#'\" \t\\\x01\x0b\x1a" + odd + letters), max_size=8)
        self._letters = st.text(st.sampled_from(letters + "ab "), min_size=1, max_size=4)
        self.blanks = st.sampled_from(BLANKS)
        self.section_name = often(st.sampled_from(SECTION_NAMES), st.one_of(self._letters, self.noise))
        self.key_name = often(st.sampled_from(KEY_NAMES), st.one_of(self._letters, self.noise))
        plain = st.one_of(st.sampled_from(VALUES), st.sampled_from(QUOTED), st.just(""))
        self.value = often(plain, st.one_of(self._letters, self.noise))

    def header(self) -> st.SearchStrategy[str]:
        """Section lines: plain, with blanks or text in odd places, unterminated, with extra brackets."""
        plain = self.section_name.map(lambda name: f"[{name}]")
        around = st.tuples(self.blanks, self.blanks, self.section_name, self.blanks, st.sampled_from(("]", "", "]]")))
        text = st.sampled_from(("", "", " ; text", "x", " [", " ]", "=1"))
        odd = st.builds(lambda parts, end: f"{parts[0]}[{''.join(parts[1:])}{end}", around, text)
        return often(plain, odd, one_in=4)

    def entry(self) -> st.SearchStrategy[str]:
        """Lines of keys, with and without blanks."""
        return st.tuples(self.blanks, self.key_name, self.blanks, self.blanks, self.value, self.blanks).map(
            lambda part: f"{part[0]}{part[1]}{part[2]}={part[3]}{part[4]}{part[5]}"
        )

    def line(self) -> st.SearchStrategy[str]:
        """Any line."""
        comment = st.tuples(self.blanks, st.sampled_from(";#"), self.entry()).map("".join)
        other = st.one_of(comment, self.key_name, self.blanks, self.noise, st.just("=1"), st.just("= "))
        return st.one_of(self.header(), self.entry(), self.entry(), self.entry(), other)

    def text(self) -> st.SearchStrategy[str]:
        """Whole files: lines with ends of their own kind, a clean start more often than not."""
        ends = often(st.just("\r\n"), st.sampled_from(("\n", "\r")), one_in=5)
        lines = st.lists(st.tuples(self.line(), ends).map("".join), max_size=14)
        start = often(st.sampled_from(SECTION_NAMES).map(lambda name: f"[{name}]\r\n"), st.just(""), one_in=4)
        return st.tuples(start, lines, often(st.just(""), self.line(), one_in=3)).map(
            lambda part: part[0] + "".join(part[1]) + part[2]
        )

    def tidy(self) -> st.SearchStrategy[str]:
        """Files as a careful hand writes them, with at most two lines of the other kind anywhere."""
        name = st.sampled_from(("STORE", "DSAMAIN", "EMSMTA", "a b"))
        key = st.sampled_from(("ServerBindTcpPorts", "ProxyBindIp", "Persistent", "a", "b b", "k.1"))
        value = st.sampled_from(("1", "110,119,143", "993:192.0.2.1", "", "0,1025-5000", " 110", "9;c", "x y"))
        entries = st.lists(st.tuples(key, value), max_size=4).map(lambda rows: [f"{k}={v}" for k, v in rows])
        section = st.tuples(name.map(lambda text: [f"[{text}]"]), entries).map(lambda part: part[0] + part[1])
        odd = st.lists(st.tuples(st.integers(0, 12), self.line()), max_size=2)

        def put(sections: list[list[str]], extra: list[tuple[int, str]]) -> str:
            rows = [row for section in sections for row in section]
            for at, row in extra:
                rows.insert(at, row)
            return "".join(f"{row}\r\n" for row in rows)

        return st.builds(put, st.lists(section, min_size=1, max_size=3), odd)


def encoded(grammar: Grammar, encoding: str, mark: bytes = b"") -> st.SearchStrategy[bytes]:
    """Files in an encoding, with its byte order mark."""
    return grammar.text().map(lambda text: mark + text.encode(encoding))


def with_noise(files: st.SearchStrategy[bytes], noise: bytes) -> st.SearchStrategy[bytes]:
    """Files into which a few bytes out of ``noise`` were put somewhere."""

    def put(data: bytes, at: float, what: bytes) -> bytes:
        cut = int(at * len(data))
        return data[:cut] + what + data[cut:]

    junk = st.lists(st.sampled_from(sorted(noise)), min_size=1, max_size=3).map(bytes)
    return st.one_of(files, files, st.builds(put, files, st.floats(0, 1), junk))


def edits(
    grammar: Grammar, make: t.Mapping[str, t.Callable[..., t.Any]], values: st.SearchStrategy[str]
) -> st.SearchStrategy[list[t.Any]]:
    """Lists of edits; ``make`` names the four kinds: ``set``, ``remove_key``, ``remove_section``, ``add_section``."""
    section = st.sampled_from((*SECTION_NAMES, "new", "New one"))
    key = st.sampled_from((*KEY_NAMES, "new", "New key"))
    blanks = st.sampled_from(("", "", " ", "\t"))
    # Windows trims what it is asked for, so what shall not be there may be asked for with blanks around it.
    old_section, old_key = (st.tuples(blanks, name, blanks).map("".join) for name in (section, key))
    return st.lists(
        st.one_of(
            st.builds(make["set"], section, key, values),
            st.builds(make["set"], section, key, values),
            st.builds(make["remove_key"], old_section, old_key),
            st.builds(make["remove_section"], old_section),
            st.builds(make["add_section"], section),
        ),
        min_size=1,
        max_size=6,
    )
