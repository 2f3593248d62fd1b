# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operation ``apply``: compare and swap of files, with backups, records and everything put back on failure."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t
from dataclasses import dataclass, field

from ..machines.errors import ACCESS_DENIED, SHARING_VIOLATION, RegistryFailure, WindowsFailure
from ..machines.files import split
from .failures import Json, TargetFailure, file_failure
from .scene import Scene, sha256
from .state import Lock, Store, format_process, visible_process


@dataclass
class Change:
    """One file of the request: what is there, what must be there, and what has been done."""

    path: str
    expect: str | None
    wanted: bytes | None
    backup: str
    backup_path: str | None
    before: bytes | None = None
    saved: str | None = None


@dataclass
class Application:
    """One run of ``apply``; ``answer`` holds the three lists on success and failure."""

    scene: Scene
    request: Json
    answer: Json
    done: list[Change] = field(default_factory=list)
    old_records: dict[str, dict[str, str] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.answer.update(applied=[], restored=[], left=[], healed=[], exposed=[])
        self.store = Store(self.scene.server)
        self.files = self.scene.server.files

    async def run(self) -> Json:
        await self.scene.point("begin")
        lock = Lock(self.scene)
        if self.request["lock"]:
            await lock.take(self.request["lock_wait"])
        try:
            await self.scene.point("locked")
            await self._swap()
        finally:
            lock.release()
        await self.scene.point("end")
        return self.answer

    async def _swap(self) -> None:
        if self.request["lock"]:
            self.store.ensure_boot()
            for item in self.request["files"]:
                self._clear_leftovers(self.scene.server.expand(item["path"]))
        changes = [await self._change(item) for item in self.request["files"]]
        await self.scene.point("compared")
        for change in changes:
            self._back_up(change)
        await self.scene.point("backed_up")
        try:
            self._write_records()
            await self.scene.point("recorded")
            for number, change in enumerate(changes, 1):
                await self.scene.point(f"file{number}.before", path=change.path)
                await self._replace(change)
                await self.scene.point(f"file{number}.after", path=change.path)
        except (TargetFailure, RegistryFailure):
            self._put_back()
            raise
        self.answer["applied"] = [self._result(change) for change in changes]

    def _clear_leftovers(self, path: str) -> None:
        """What a run that died left: an old file or a half-written one comes back, everything else goes."""
        directory, name = split(path)
        if not self.files.is_dir(directory):
            return
        for other in self.files.names(directory):
            found = re.fullmatch(re.escape(name) + r"\.[0-9a-f-]{8,36}\.(tmp~?|was)", other, re.IGNORECASE)
            if found is None:
                continue
            leftover = f"{directory}\\{other}"
            if found[1].lower() == "was":
                self._mend(path, self.files.read(leftover))
            elif found[1].lower() == "tmp~" and not self.files.exists(path):
                self._bring_back(path, leftover)
                continue
            if found[1].lower() == "tmp~" and path in self.answer["healed"]:
                self.answer["left"].append(leftover)
            else:
                self._remove(leftover)

    def _bring_back(self, path: str, leftover: str) -> None:
        """The old file gets its name back; where it cannot be had, its text comes from the store."""
        try:
            data = self.files.read(leftover)
            self.files.create(path, data)
            self.files.remove(leftover)
        except WindowsFailure as failure:
            of_path = [digest for dummy, digest, saved_path in self.store.index() if saved_path.lower() == path.lower()]
            stored = self.store.backup(of_path[-1]) if of_path else None
            if stored is None:
                raise file_failure(failure, self.files, path) from failure
            self.files.create(path, stored)
            self.answer["left"].append(leftover)
        self.answer["healed"].append(path)

    def _mend(self, path: str, undo: bytes) -> None:
        """A file that is neither what it was nor what it was to be, and as long as one of them, was cut."""
        fields = undo.split(b"|")
        node = self.files.node(path)
        if len(fields) != 5 or node is None or node.data is None:
            return
        was, old_size, new, new_size = (field.decode() for field in fields[:4])
        if sha256(node.data) in (was, new) or len(node.data) not in (int(old_size), int(new_size)):
            return
        if not was:
            self.files.delete(path)
        else:
            self.files.overwrite(path, self._old_text(was, fields[4]), in_place=True)
        self.answer["healed"].append(path)

    def _old_text(self, digest: str, encoded: bytes) -> bytes:
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            data = b""
        stored = data if sha256(data) == digest else self.store.backup(digest)
        if stored is None:
            raise TargetFailure("backup_missing", "there is no such backup", sha256=digest)
        return stored

    def _remove(self, leftover: str) -> None:
        try:
            self.files.delete(leftover)
        except WindowsFailure:
            self.answer["left"].append(leftover)

    async def _change(self, item: Json) -> Change:
        path = self.scene.server.expand(item["path"])
        change = Change(path, item["expect_sha256"], None, item["backup"], item["backup_path"])
        change.before = await self._compare(change)
        node = self.files.node(path)
        if node is not None and node.read_only:
            raise file_failure(WindowsFailure(ACCESS_DENIED), self.files, path)
        change.wanted = self._wanted(item)
        return change

    def _wanted(self, item: Json) -> bytes | None:
        if item["content"] is not None:
            try:
                return base64.b64decode(item["content"], validate=True)
            except binascii.Error as error:
                raise TargetFailure("bad_request", "content is no base64", key="content") from error
        if item["from_backup"] is None:
            return None
        data = self.store.backup(item["from_backup"])
        if data is None:
            raise TargetFailure("backup_missing", "there is no such backup", sha256=item["from_backup"])
        return data

    async def _compare(self, change: Change) -> bytes | None:
        """The file's bytes, once they are what the request expects."""
        try:
            data = await self.scene.patiently(change.path, lambda: self.files.read(change.path))
        except TargetFailure as failure:
            if failure.code != "not_found":
                raise
            if change.expect is not None:
                raise
            return None
        if sha256(data) != change.expect:
            raise TargetFailure(
                "changed",
                "the file is not what was expected",
                path=change.path,
                expected=change.expect,
                found=sha256(data),
            )
        return t.cast(bytes, data)

    def _back_up(self, change: Change) -> None:
        if change.before is None or change.backup == "none":
            return
        if change.backup == "beside":
            change.saved = self.store.copy_beside(change.before, change.backup_path or "", of=change.path)
            return
        change.saved = self.store.save(change.before)
        if self.files.kind(change.saved) == "FAT" and not self.answer["exposed"]:
            place = {"machine": self.scene.server.name, "path": self.store.directory, "key": None}
            self.answer["exposed"].append(place)
        self.store.remember(sha256(change.before), change.path, self.scene.clock.now())

    def _write_records(self) -> None:
        for item in self.request["records"]:
            name = item["service"]
            old = self.store.record(name)
            self.old_records[name] = old if self.store.has_record(name) else None
            values = {**old, "wanted": item["wanted"] or "", "owned": item["owned"]}
            if item["loaded"] is not None:
                service = self.scene.server.services.find(name)
                process = visible_process(self.scene, service) if service else None
                values.update(loaded=item["loaded"], process=format_process(process), file="")
            self.store.write_record(name, values)

    async def _replace(self, change: Change) -> None:
        # Nobody can write between comparison and swap: the script holds its own handle meanwhile.
        change.before = await self._compare(change)
        await self.scene.patiently(change.path, lambda: self._put(change.path, change.before, change.wanted))
        self.done.append(change)

    def _put(self, path: str, before: bytes | None, wanted: bytes | None) -> None:
        in_place = self.scene.remote or self.files.kind(path) != "NTFS"
        if wanted is None:
            if before is not None:
                self.files.delete(path)
        elif before is None:
            self.files.create(path, wanted)
        elif in_place:
            self._overwrite(path, before, wanted)
        else:
            self.files.overwrite(path, wanted)

    def _overwrite(self, path: str, before: bytes, wanted: bytes) -> None:
        """In place, with what would undo it beside it as long as it lasts."""
        undo = f"{path}.{self.scene.run}.was"
        line = f"{sha256(before)}|{len(before)}|{sha256(wanted)}|{len(wanted)}|{base64.b64encode(before).decode()}"
        self.files.remove(undo)
        try:
            self.files.create(undo, line.encode())
            self.files.overwrite(path, wanted, in_place=True)
        finally:
            self.files.remove(undo)

    def _now(self, path: str) -> bytes | None:
        node = self.files.node(path)
        return None if node is None else node.data

    def _result(self, change: Change) -> Json:
        exists = change.wanted is not None
        return {
            "path": change.path,
            "sha256": sha256(change.wanted) if change.wanted is not None else None,
            "size": len(change.wanted) if change.wanted is not None else None,
            "modified": self.files.modified(change.path) if exists else None,
            "backup": change.saved,
        }

    def _put_back(self) -> None:
        """Undo what was done, last first; what somebody else has changed since is left."""
        if not self.scene.server.up:
            self.answer["left"] = [change.path for change in self.done]
            return
        for change in reversed(self.done):
            try:
                if self._now(change.path) != change.wanted:
                    raise WindowsFailure(SHARING_VIOLATION, change.path)
                self._put(change.path, change.wanted, change.before)
            except WindowsFailure:
                self.answer["left"].append(change.path)
            else:
                self.answer["restored"].append(change.path)
        for name, values in self.old_records.items():
            try:
                self._put_record_back(name, values)
            except RegistryFailure as failure:
                self.answer["left"].append(failure.subject)

    def _put_record_back(self, name: str, values: dict[str, str] | None) -> None:
        if values is None:
            self.store.drop_record(name)
        else:
            self.store.write_record(name, values)
