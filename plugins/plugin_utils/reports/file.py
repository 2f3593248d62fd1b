# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as a file of the controller: replaced whole, and where it cannot be written, an error that is data."""

from __future__ import annotations

import os
from pathlib import Path

from ..shapes import Json


def write(text: str, name: str, *, complete: bool, told_by: str) -> Json:
    """Write a report.

    Args:
        text: The report in its form.
        name: The file.
        complete: Whether the run has come to its end; else the report will be written again.
        told_by: The server that fails when it could not be written, once the others' results are known.

    Returns:
        ``path`` and ``complete``; or ``unwritten``, why not, and ``told_by``, empty as long as the run goes on.
    """
    path = Path(name).expanduser().absolute()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        why = f"publish_report: {path} could not be written ({error.strerror}); give a file that can be replaced"
        return {"unwritten": why, "told_by": told_by if complete else ""}
    return {"path": str(path), "complete": complete}
