# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report in a real browser: what its document holds once the browser has read it."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.model import PORT_STATES, Report
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.page import as_page
from tests.support.reports import HOSTILE, few, many

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if not BROWSER:
    pytest.skip("NO BROWSER: the page of a report was not opened; apt-get install chromium", allow_module_level=True)


class Document(HTMLParser):
    """A document as the browser writes it out: elements with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.title = ""
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._in[-1:] == ["title"]:
            self.title += data
        elif self._in[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of_class(self, name: str) -> list[tuple[str, dict[str, str | None]]]:
        return [(tag, attrs) for tag, attrs in self.elements if name in (attrs.get("class") or "").split()]


def browse(folder: Path, *arguments: str) -> str:
    """Run the browser without a screen on ``page.html`` of a folder; what it prints."""
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={folder / 'profile'}", *arguments, (folder / "page.html").as_uri()),
    ]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode("utf-8")


def opened(report: Report, folder: Path) -> Document:
    """The document that a browser makes of a report's page."""
    (folder / "page.html").write_text(as_page(report), encoding="utf-8")
    return Document(browse(folder, "--dump-dom"))


def test_every_state_of_a_port_stands_in_the_matrix_with_a_sign_and_a_word(tmp_path: Path) -> None:
    document = opened(few(), tmp_path)
    for state, meaning in PORT_STATES.items():
        assert document.of_class(f"p-{state.replace(' ', '-')}"), state
        assert meaning in document.text
    rows = [attrs for tag, attrs in document.elements if tag == "th" and attrs.get("scope") == "row"]
    assert len(rows) == len(few().servers)
    assert "asked 22:01:40 UTC, 1 attempt" in document.text
    assert (len(document.of_class("bar")), len(document.of_class("open"))) == (3, 1)
    assert "down from 22:00:10 to 22:00:48 UTC, 38 s" in document.text


def test_a_hostile_greeting_is_text_and_nothing_else(tmp_path: Path) -> None:
    document = opened(few(), tmp_path)
    assert document.title == "Publishing: Published 1 of 4 servers in 2 min 14 s."
    assert not [tag for tag, _attrs in document.elements if tag in ("script", "img", "iframe", "object", "a", "link")]
    assert not [attrs for _tag, attrs in document.elements if attrs.get("id") == "owned"]
    assert not [name for _tag, attrs in document.elements for name in attrs if name.startswith("on")]
    shown = HOSTILE.replace("\x1b", "\ufffd").replace("\x00", "\ufffd")
    assert " ".join(shown.split()) in document.text


def test_three_hundred_servers_are_a_small_page_that_leads_with_what_differs(tmp_path: Path) -> None:
    document = opened(many(300), tmp_path)
    assert (tmp_path / "page.html").stat().st_size < 2_000_000
    rows = [attrs for tag, attrs in document.elements if tag == "th" and attrs.get("scope") == "row"]
    assert len(rows) == 300
    text = document.text
    assert text.index("exch251") < text.index("291 servers in order") < text.index("exch299")
    assert "6 servers alike: exch001" in text
    folded = [attrs for tag, attrs in document.elements if tag == "details"]
    assert folded and not [attrs for attrs in folded if "open" in attrs]


@pytest.mark.parametrize("size", ["1280,1600", "500,1600"])
def test_it_can_be_drawn_and_printed(tmp_path: Path, size: str) -> None:
    (tmp_path / "page.html").write_text(as_page(few()), encoding="utf-8")
    browse(tmp_path, f"--screenshot={tmp_path / 'page.png'}", f"--window-size={size}")
    browse(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "page.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"
