# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows that programs run on: Windows itself, or a Wine prefix."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import threading
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.calls import Done, Hung, call, spoken
from tests.windows import BUILD

# A server that idles so long ends with its services: what a killed run leaves behind is gone by then.
IDLE_SECONDS: t.Final = 300
BOOT_SECONDS: t.Final = 180
GRACE_SECONDS: t.Final = 10
# Root would not be denied anything.
WITHOUT_OVERRIDE: t.Final = (
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
)
LOADERS: t.Final = ("/usr/lib/wine/wine64", "wine64", "wine")
SERVERS: t.Final = ("/usr/lib/wine/wineserver64", "wineserver64", "wineserver")


class Unavailable(Exception):
    """There is no Windows here; the text says what is missing."""


class Closed(BaseException):
    """The lane is ending: no program is started any more, and no case is to take this for its own failure."""


STARTS: t.Final = 3


def that_came_up(run: t.Callable[[], Done]) -> Done:
    """Run a program that always says something; under Wine a process does not always come up, and then says nothing.

    Args:
        run: runs it once.

    Returns:
        What it said, or the last of `STARTS` silences.
    """
    for dummy in range(STARTS):
        done = run()
        if done.status == 0 or done.out.strip() or done.err.strip():
            break
    return done


class Machine(t.Protocol):
    """A Windows that programs run on."""

    def run(self, words: Sequence[str], stdin: bytes, *, seconds: float) -> Done:
        """Run a program by its Windows path; raises Hung when it does not end within ``seconds``."""

    def path_of(self, path: Path) -> str:
        """How programs of that Windows call a file of this machine."""

    def heal(self) -> None:
        """After a program that hung: be sound again."""

    def unseal(self, directories: Sequence[str]) -> None:
        """Let files below these Windows paths be opened that nobody could, where no program there can do that."""


ALREADY_RUNNING: t.Final = 1056


def share_registry(run: t.Callable[[Sequence[str]], Done]) -> None:
    """Start the service by which computer mode reads a registry; it is off on a fresh Windows.

    Args:
        run: runs a program there.

    Raises:
        Unavailable: it does not start.
    """
    for words in (("sc.exe", "config", "RemoteRegistry", "start=", "demand"), ("sc.exe", "start", "RemoteRegistry")):
        done = run(words)
        if done.status not in (0, ALREADY_RUNNING):
            said = spoken(done.out).strip()[-300:]
            raise Unavailable(f"{' '.join(words)}: {done.status} {said}; is this an administrator's session?")


class Native:
    """This machine, which runs Windows."""

    def run(self, words: Sequence[str], stdin: bytes, *, seconds: float) -> Done:
        return call(words, stdin, seconds=seconds, environment=os.environ)

    def path_of(self, path: Path) -> str:
        return str(path)

    def heal(self) -> None:
        """Nothing to do: what hung is ended."""

    def unseal(self, directories: Sequence[str]) -> None:
        """Nothing to do: the owner may always change who has access."""


@dataclass(frozen=True)
class Wine:
    """Wine's two programs."""

    loader: str
    server: tuple[str, ...]


def find_wine() -> Wine:
    """Return Wine's programs.

    Raises:
        Unavailable: they are not installed.
    """
    loader = next((found for name in LOADERS if (found := shutil.which(name))), None)
    server = next((found for name in SERVERS if (found := shutil.which(name))), None)
    if loader is None or server is None:
        raise Unavailable("no Wine: install wine and wine64")
    if os.geteuid() != 0:
        return Wine(loader, (server,))
    if shutil.which(WITHOUT_OVERRIDE[0]) is None:
        raise Unavailable("no setpriv, without which nothing is denied to root: install util-linux")
    return Wine(loader, (*WITHOUT_OVERRIDE, server))


@dataclass
class Prefix:
    """A Wine prefix with a server of its own, and so with a registry, services and processes of its own.

    Use it as a context manager: the server runs from the beginning to the end, and ends with all that it serves.

    Attributes:
        wine: Wine's programs.
        folder: the prefix.
    """

    wine: Wine
    folder: Path
    _guard: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _open: bool = field(default=False, repr=False)
    _running: int = field(default=0, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What Wine and PowerShell see."""
        kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        return {
            **kept,
            "TMPDIR": str(BUILD / "run"),  # sockets of the servers
            "WINEPREFIX": str(self.folder),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "LC_ALL": "C.UTF-8",  # Wine takes file names from the locale
            "DOTNET_EnableWriteXorExecute": "0",
            "DOTNET_gcConcurrent": "0",
            "POWERSHELL_TELEMETRY_OPTOUT": "1",
            "POWERSHELL_UPDATECHECK": "Off",
        }

    def __enter__(self) -> Prefix:
        self._open = True
        self.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        with self._guard:
            self._open = False
        self.end()
        # A program that was just about to start has brought a server of its own along.
        with self._guard:
            self._guard.wait_for(lambda: self._running == 0, timeout=GRACE_SECONDS)
        self.end()

    def start(self) -> None:
        """Start the server, before any program does: one that a program starts ends with it."""
        (BUILD / "run").mkdir(parents=True, exist_ok=True)
        self.end()
        self._server(f"-p{IDLE_SECONDS}")

    def end(self) -> None:
        """End the server and every program that runs on it."""
        self._server("-k")
        self._server("-w")

    def heal(self) -> None:
        with self._guard:
            if not self._open:
                return
        self.start()

    def run(self, words: Sequence[str], stdin: bytes, *, seconds: float, **variables: str) -> Done:
        with self._guard:
            if not self._open:
                raise Closed
            self._running += 1
        try:
            environment = {**self.environment, **variables}
            return call([self.wine.loader, *words], stdin, seconds=seconds, environment=environment)
        finally:
            with self._guard:
                self._running -= 1
                self._guard.notify_all()

    def unseal(self, directories: Sequence[str]) -> None:
        for directory in directories:
            top = self.folder / f"drive_{directory[0].lower()}" / directory[3:].replace("\\", "/")
            for folder, dummy, names in os.walk(top):
                for path in (Path(folder, name) for name in names):
                    if not path.is_symlink() and not path.stat().st_mode & 0o600:
                        path.chmod(0o644)

    def path_of(self, path: Path) -> str:
        return "Z:" + str(path).replace("/", "\\")

    def install(self) -> Done:
        """Put Windows' own files and registry into the prefix, whose server runs."""
        # Nobody is to be asked whether to fetch Mono. PowerShell does need mscoree later.
        environment = {**self.environment, "WINEDLLOVERRIDES": "mscoree,mshtml="}
        return call([self.wine.loader, "wineboot.exe", "-i"], b"", seconds=BOOT_SECONDS, environment=environment)

    def _server(self, option: str) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [*self.wine.server, option],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                timeout=30,
                check=False,
            )


def fat_image() -> bytes:
    """Return the beginning of a FAT16 volume of 64 MB: what Wine looks at to tell the file system."""
    sector = bytearray(512)
    sector[0:3], sector[3:11] = b"\xeb\x3c\x90", b"MSDOS5.0"
    struct.pack_into("<HBHBHHBHHHII", sector, 11, 512, 4, 1, 2, 512, 0, 0xF8, 255, 63, 16, 0, 131_072)
    sector[36:43] = b"\x80\x00\x29\x01\x02\x03\x04"
    sector[43:62] = b"CONFORMANCEFAT16   "
    sector[510:512] = b"\x55\xaa"
    return bytes(sector) + b"\xf8\xff\xff\xff".ljust(2560, b"\0")


def make_prefix(wine: Wine, folder: Path) -> None:
    """Make a prefix from nothing; what was there is removed.

    Args:
        wine: Wine's programs.
        folder: the prefix, below a folder that is there.

    Raises:
        Unavailable: Wine does not make one.
    """
    prefix = Prefix(wine, folder)
    if folder.exists():
        prefix.end()
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with prefix:
        try:
            done = prefix.install()
        except Hung as reason:
            raise Unavailable(f"Wine does not make a prefix: {reason}") from reason
    if not (folder / "drive_c" / "windows" / "system32").is_dir():
        raise Unavailable(f"Wine does not make a prefix: {spoken(done.err).strip()[-300:]}")
    _add_drives(folder)


def _add_drives(folder: Path) -> None:
    """D: is FAT, E: is not; drives are looked at when the server starts."""
    for letter in "de":
        (folder / f"drive_{letter}").mkdir()
        (folder / "dosdevices" / f"{letter}:").symlink_to(f"../drive_{letter}")
    (folder / "drive_d" / "volume.img").write_bytes(fat_image())


def point(link: Path, target: Path) -> None:
    """Make a symbolic link, whatever was there."""
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def copy_prefix(template: Path, folder: Path) -> None:
    """Make a prefix from another one that nobody uses; Windows' own programs are shared, they are never written."""
    if folder.exists():
        shutil.rmtree(folder)

    def share(source: str, target: str) -> str:
        if "/drive_c/" in source and source.lower().endswith(
            (".dll", ".exe", ".drv", ".sys", ".ttf", ".nls", ".tlb", ".ocx")
        ):
            os.link(source, target)
            return target
        return shutil.copy2(source, target)

    # "wineserver" names the socket of the template's own server.
    shutil.copytree(
        template,
        folder,
        symlinks=True,
        copy_function=share,
        ignore=shutil.ignore_patterns("wineserver"),
        ignore_dangling_symlinks=True,
    )


def add_shares(folder: Path, computer: str) -> None:
    """Make the administrative shares, by which a machine reaches its drives as another one would."""
    place = folder / "dosdevices" / "unc" / computer
    place.mkdir(parents=True, exist_ok=True)
    shares = {"C$": "drive_c", "D$": "drive_d", "E$": "drive_e", "ADMIN$": "drive_c/windows"}
    for name, target in shares.items():
        link = place / name
        if not link.is_symlink():
            link.symlink_to(f"../../../{target}")
