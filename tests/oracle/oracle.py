# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a real kernel32, Wine's, what its profile functions read from a file."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

COMPILER = "x86_64-w64-mingw32-gcc"
PROFILE, CODE_PAGES, UPPER_CASE = (
    Path(__file__).with_name(name) for name in ("profile_oracle.c", "code_pages.c", "upper_case.c")
)
BUILD = Path(__file__).resolve().parents[2] / "build" / "oracle"
WINE_LIBRARIES = (
    "/usr/lib/*/wine/x86_64-windows",
    "/usr/lib*/wine/x86_64-windows",
    "/opt/wine*/lib*/wine/x86_64-windows",
)


class Unavailable(Exception):
    """The oracle cannot run here; the text says what is missing."""


@dataclass(frozen=True)
class AnswerKey:
    """One key as GetPrivateProfileString lists and reads it; None: listed, but not found."""

    name: str
    value: str | None


@dataclass(frozen=True)
class AnswerSection:
    """One section as listed, with GetPrivateProfileSection's lines and GetPrivateProfileString's keys."""

    name: str
    entries: tuple[str, ...]
    keys: tuple[AnswerKey, ...]


@dataclass(frozen=True)
class Answer:
    """What the profile functions read from one file."""

    code_page: int
    sections: tuple[AnswerSection, ...]
    asked: tuple[str | None, ...]


def missing_tools() -> str:
    """Say which programs are missing and what to install; empty when none is."""
    missing = [tool for tool in (COMPILER, "wine", "wineserver") if shutil.which(tool) is None]
    return f"no {', no '.join(missing)}; install gcc-mingw-w64-x86-64 and wine" if missing else ""


def build(source: Path, *options: str) -> Path:
    """Compile one of the programs unless it is newer than its source."""
    program = BUILD / f"{source.stem}.exe"
    if not program.exists() or program.stat().st_mtime <= source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(f".{os.getpid()}.exe")
        strict = ("-O2", "-Wall", "-Wextra", "-Werror")
        subprocess.run([COMPILER, *options, *strict, str(source), "-o", str(fresh)], check=True)
        fresh.replace(program)
    return program


def make_locale(name: str, directory: Path) -> None:
    """Make a glibc locale, from which Wine takes its ANSI code page.

    Raises:
        Unavailable: The locale's sources are not installed.
    """
    localedef = shutil.which("localedef")
    if localedef is None or not Path("/usr/share/i18n/locales", name).exists():
        raise Unavailable(f"no source of the locale {name}; install locales")
    directory.mkdir(parents=True, exist_ok=True)
    # Exit status 1 means warnings; a locale that was not made shows at once, as the wrong code page.
    subprocess.run([localedef, "-f", "UTF-8", "-i", name, str(directory / f"{name}.UTF-8")], check=False)


class Oracle:
    """One running oracle with a Wine prefix of its own.

    Args:
        directory: An empty directory for the prefix and the files; the caller removes it.
        locale: None for code page 1252, or a locale whose code page is wanted, such as ``ja_JP``.

    Raises:
        Unavailable: Wine, the compiler or the locale is missing, or Wine does not start.
    """

    def __init__(self, directory: Path, *, locale: str | None = None) -> None:
        program = build(PROFILE, "-municode")
        files = directory / "files"
        files.mkdir(parents=True)
        self._environment = _environment(directory, locale)
        windows_path = "Z:" + str(files).replace("/", "\\") + "\\"
        self._process = subprocess.Popen(
            ["wine", str(program), windows_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
        )
        try:
            self.code_page = self.ask(b"").code_page
        except (Unavailable, BrokenPipeError) as error:
            self.close()
            raise Unavailable(f"wine does not run the oracle: {error}") from error

    def ask(self, data: bytes, questions: t.Sequence[tuple[str, str]] = ()) -> Answer:
        """Return what is read from a file with these bytes, and the values of the (section, key) asked for."""
        asked = "".join(f"{section}\0{key}\0" for section, key in questions).encode("utf-16-le", "surrogatepass")
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise Unavailable("no pipe to the oracle")
        pipe_in.write(struct.pack("<I", len(data)) + data + struct.pack("<I", len(asked)) + asked)
        pipe_in.flush()
        line = pipe_out.readline()
        if not line:
            raise Unavailable(f"the oracle ended with status {self._process.wait()}")
        return _answer(json.loads(line))

    def close(self) -> None:
        """End the oracle and the Wine server of its prefix."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self._process.wait()
        _end_server(self._environment)


def code_page_tables(directory: Path, pages: t.Iterable[str]) -> dict[str, dict[bytes, str]]:
    """Return what Windows' code pages make of every byte and every pair of bytes.

    Args:
        directory: An empty directory for the prefix; the caller removes it.
        pages: Names such as ``cp1252``.

    Raises:
        Unavailable: Wine does not start.
    """
    tables: dict[str, dict[bytes, str]] = {}
    for row in _told(CODE_PAGES, directory, [page.removeprefix("cp") for page in pages]):
        raw, units = row.split(" ")
        if raw == "page":
            table = tables.setdefault(f"cp{units}", {})
        else:
            table[bytes.fromhex(raw)] = bytes.fromhex(units).decode("utf-16-be", "surrogatepass")
    return tables


def upper_case_table(directory: Path) -> dict[str, str]:
    """Return every character of the BMP whose upper case is another one, with that one.

    Args:
        directory: An empty directory for the prefix; the caller removes it.

    Raises:
        Unavailable: Wine does not start.
    """
    pairs = (row.split(" ") for row in _told(UPPER_CASE, directory, []))
    return {chr(int(unit, 16)): chr(int(upper, 16)) for unit, upper in pairs}


def _told(source: Path, directory: Path, arguments: list[str]) -> list[str]:
    """Return the lines that one of the programs prints."""
    program = build(source)
    environment = _environment(directory, None)
    command = ["wine", str(program), *arguments]
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    _end_server(environment)
    if done.returncode:
        raise Unavailable(f"wine does not run {source.name}: status {done.returncode}")
    return done.stdout.decode("ascii").splitlines()


def _end_server(environment: t.Mapping[str, str]) -> None:
    for option in ("-k", "-w"):
        subprocess.run(["wineserver", option], env=environment, check=False, stderr=subprocess.DEVNULL)


def _environment(directory: Path, locale: str | None) -> dict[str, str]:
    prefix = directory / "prefix"
    (prefix / "drive_c" / "windows").mkdir(parents=True)
    libraries = next((path for pattern in WINE_LIBRARIES for path in Path("/").glob(pattern[1:])), None)
    if libraries is not None:
        # The profile functions need no registry and no installed files; this saves half a gigabyte and seconds.
        (prefix / "drive_c" / "windows" / "system32").symlink_to(libraries)
        (prefix / ".update-timestamp").write_text("disable\n")
    environment = {
        **os.environ,
        "WINEPREFIX": str(prefix),
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
        "LC_ALL": "C.UTF-8",
    }
    environment.pop("DISPLAY", None)
    if locale is not None:
        make_locale(locale, directory / "locale")
        environment |= {"LOCPATH": str(directory / "locale"), "LC_ALL": f"{locale}.UTF-8"}
    return environment


def _answer(data: dict[str, t.Any]) -> Answer:
    sections = tuple(
        AnswerSection(
            section["name"],
            tuple(section["entries"]),
            tuple(AnswerKey(key["name"], key["value"]) for key in section["keys"]),
        )
        for section in data["sections"]
    )
    return Answer(data["code_page"], sections, tuple(data["asked"]))
