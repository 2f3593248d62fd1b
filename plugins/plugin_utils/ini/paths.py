# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of files on Windows: which ones are taken, and what is wrong with the others, each with its own words."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ..problems.problem import Problem, Refused

# Drive, share or variable, then a name.
_ABSOLUTE = re.compile(
    r"(?:[A-Za-z]:\\|\\\\[^\\/?*.:][^\\/?*:]*\\[^\\/:?*]+\\|%[^%\\]+%\\)"
    r"[^\x00-\x1f<>|*?\":]*[^\x00-\x1f<>|*?\":\\. ]\Z"
)
_ODD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_CUT_BY_WINDOWS = re.compile(r"[^\\. :][. ]+\Z")
_DEVICES = frozenset(
    "CON PRN AUX NUL CONIN$ CONOUT$".split()
    + [f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\xb9\xb2\xb3"]
)
_VARIABLE = re.compile(r"%([^%\\]+)%")
# What the script knows of a server that it reaches over the network.
_KNOWN_THERE = frozenset({"systemroot", "windir", "systemdrive"})
_ANY = "Give an absolute path as the server has it, such as C:\\app\\settings.ini or %SystemRoot%\\app.ini."


def printable(text: str) -> str:
    """Return a text that any terminal and any JSON takes: halves of surrogate pairs as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_path(options: Mapping[str, t.Any]) -> str:
    """Return the path with backslashes.

    Raises:
        Refused: It is no absolute path of a file, Windows would take it for another one, or it leads to somewhere else
            than to the server that ``computer`` names.
    """
    path = str(options["path"]).replace("/", "\\")
    wrong = _wrong_with(path) or (_wrong_behind(path) if options.get("computer") else None)
    if wrong is not None:
        cause, remedy = wrong
        raise Refused([Problem("bad_option", cause, remedy, "path", printable(path))])
    return path


def _wrong_with(path: str) -> tuple[str, str] | None:
    odd = _ODD.search(path)
    if odd:
        remedy = (
            "In double quotes YAML makes a tab of \\t and a line end of \\n; put the path in single quotes or none."
        )
        return f"it holds U+{ord(odd[0]):04X}, which no path has", remedy
    if _CUT_BY_WINDOWS.search(path):
        return "it ends in a dot or a blank, which Windows cuts off: another file would be meant", "Leave it out."
    device = next((part for part in path.split("\\") if part.split(".")[0].rstrip().upper() in _DEVICES), None)
    if device:
        remedy = "Name the file something else; such a name is a device in every directory, with any ending."
        return f"{device} is the name of a device", remedy
    if not _ABSOLUTE.match(path):
        return "this is no absolute Windows path of a file", _ANY
    return None


def _wrong_behind(path: str) -> tuple[str, str] | None:
    """Say what is wrong with a path of a server that is reached through a management host."""
    here = "With computer, give the path as that server itself has it, such as C:\\app\\settings.ini."
    if path.startswith("\\\\"):
        return "this is a network path", here
    other = next((name for name in _VARIABLE.findall(path) if name.lower() not in _KNOWN_THERE), None)
    if other is not None:
        remedy = (
            "Write the path out; with computer, only %SystemRoot%, %windir% and %SystemDrive% are known of the server."
        )
        return f"%{other}% would be the management host's, not the server's", remedy
    return None


def unknown_place(path: str) -> Problem | None:
    """Return what is wrong with a path whose variables were expanded on the server, None if all is right."""
    variable = _VARIABLE.match(path)
    if variable is None:
        return None
    remedy = "Write the path out, or set that variable for the whole machine; sessions see no variables of users."
    return Problem("bad_option", f"the server knows no variable {variable[0]}", remedy, "path", path)


def drive_hint(path: str) -> str:
    """Return what may be wrong besides, where the directory of a path is missing: a drive that only a user has."""
    if not re.match(r"[ABD-Zabd-z]:", path):
        return ""
    return (
        f" If {path[:2]} is a network drive of a user, it does not exist in a remote session: give the share itself, "
        "\\\\server\\share\\file.ini, which works where the account may reach it."
    )
