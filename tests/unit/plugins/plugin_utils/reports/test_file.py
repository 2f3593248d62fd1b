# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as a file: replaced whole, or an error that is data."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.file import write


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("a longer text of before", encoding="utf-8")
    assert write("new", str(target), complete=False, told_by="a") == {"path": str(target), "complete": False}
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("report.json", "new")]


@pytest.mark.parametrize(("complete", "told_by"), [(True, "a"), (False, "")])
def test_what_cannot_be_written_is_told_by_one_server_when_the_run_ends(
    tmp_path: Path, complete: bool, told_by: str
) -> None:
    target = tmp_path / "report.json"
    target.mkdir()
    result = write("new", str(target), complete=complete, told_by="a")
    assert result["told_by"] == told_by
    assert f"{target} could not be written (Is a directory)" in result["unwritten"]
    assert list(tmp_path.iterdir()) == [target]
