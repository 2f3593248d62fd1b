# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the option tables of README.md from the documentation of modules, filters and the role.

A table stands between ``<!-- options of module win_ini -->`` and ``<!-- end of options -->``; it is replaced whole.
The index of all plugins stands between ``<!-- index of plugins -->`` and ``<!-- end of index -->``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.conftest import ROOT, link_collection

COLLECTION = "msexchange.winsock_proxy"
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(?P<begin><!-- options of (?P<kind>\w+) (?P<name>\w+) -->\n)(?P<table>.*?)(?P<end><!-- end of options -->)",
    re.DOTALL,
)
INDEX = re.compile(r"(?P<begin><!-- index of plugins -->\n).*?(?P<end><!-- end of index -->)", re.DOTALL)
PUBLIC = {"module": "modules", "filter": "filter", "callback": "callback"}
CONNECTION = frozenset({"computer", "computer_username", "computer_password", "target_deadline", "lock_wait"})

# Ansible's markup: a value in code font, a name in code font without its plugin type, a link, emphasis.
_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[VCE]\(((?:\\.|[^)\\])*)\)"), r"`\1`"),
    (re.compile(r"\b(?:O|RV)\((?:[\w.]+#[\w]+:)?(?:\w+:)?((?:\\.|[^)\\])*)\)"), r"`\1`"),
    (re.compile(r"\bM\((?:msexchange\.winsock_proxy\.)?([^)]*)\)"), r"`\1`"),
    (re.compile(r"\bP\((?:msexchange\.winsock_proxy\.)?([^)#]*)#\w+\)"), r"`\1`"),
    (re.compile(r"\bL\(([^,)]*),\s*([^)]*)\)"), r"[\1](\2)"),
    (re.compile(r"\bU\(([^)]*)\)"), r"<\1>"),
    (re.compile(r"\bR\(([^,)]*),[^)]*\)"), r"\1"),
    (re.compile(r"\bB\(([^)]*)\)"), r"**\1**"),
    (re.compile(r"\bI\(([^)]*)\)"), r"*\1*"),
)


def markdown(text: str) -> str:
    """One line of Markdown, fit for a table's cell, from a paragraph in Ansible's markup."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(re.sub(r"\\([()\\])", r"\1", text).split()).replace("|", r"\|")


def documented(kind: str, names: Iterable[str]) -> t.Any:
    """What ansible-doc knows of these plugins of the checkout."""
    # ansible-doc reads collections by path; the link gives the checkout the path that it wants.
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(link_collection(ROOT)), "NO_COLOR": "1"}
    program = str(Path(sys.executable).parent / "ansible-doc")
    command = [program, "-t", kind, "--json", *(f"{COLLECTION}.{name}" for name in names)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ansible-doc -t {kind} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def options_of(kind: str, name: str) -> Mapping[str, t.Any]:
    """Options of a plugin, or of the main entry point of a role."""
    page = documented(kind, [name])[f"{COLLECTION}.{name}"]
    options: Mapping[str, t.Any] = page["entry_points"]["main"]["options"] if kind == "role" else page["doc"]["options"]
    return options


def flattened(options: Mapping[str, t.Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    """Options and, behind each, its suboptions under ``parent.child``."""
    for name in options:
        yield prefix + name, options[name]
        yield from flattened(options[name].get("suboptions") or options[name].get("options") or {}, f"{prefix}{name}.")


def paragraphs(value: t.Any) -> list[str]:
    """A description, which may be one text or a list of them."""
    return [value] if isinstance(value, str) else list(value)


def shape(option: Mapping[str, t.Any]) -> str:
    """Type, elements and whether it must be given."""
    kind = str(option.get("type", "str"))
    if option.get("elements"):
        kind += f" of {option['elements']}"
    return f"{kind}, required" if option.get("required") else kind


def default(option: Mapping[str, t.Any]) -> str:
    """The default as YAML would show it, and the choices."""
    value, choices = option.get("default"), [choice for choice in option.get("choices") or [] if choice != ""]
    parts = [] if value is None else [f"`{json.dumps(value) if not isinstance(value, str) else value or repr('')}`"]
    if choices:
        parts.append("of " + " ".join(f"`{choice}`" for choice in choices))
    return " ".join(parts)


def table(kind: str, name: str) -> str:
    """The table of one plugin's options, without those that every module of the action group shares."""
    rows = ["| Option | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    for option, entry in flattened(options_of(kind, name)):
        if kind == "module" and option in CONNECTION and name != "wspcfg":
            continue
        meaning = " ".join(markdown(text) for text in paragraphs(entry.get("description", "")))
        rows.append(f"| `{option}` | {shape(entry)} | {default(entry)} | {meaning} |")
    return "\n".join(rows) + "\n"


def index() -> str:
    """One line for every public plugin, with its short description."""
    rows = ["| Name | Kind | Does |", "| --- | --- | --- |"]
    for kind, room in PUBLIC.items():
        names = sorted(path.stem for path in (ROOT / "plugins" / room).glob("[!_]*.py"))
        for name, page in sorted(documented(kind, names).items() if names else ()):
            rows.append(f"| `{name.split('.')[-1]}` | {kind} | {markdown(page['doc']['short_description'])} |")
    return "\n".join(rows) + "\n"


def regenerate(text: str) -> str:
    """The README with its index and every table as the documentation has it now."""
    text = INDEX.sub(lambda found: found["begin"] + index() + found["end"], text)
    return BLOCK.sub(lambda found: found["begin"] + table(found["kind"], found["name"]) + found["end"], text)


def main(argv: list[str]) -> int:
    """Rewrite the README, or with ``--check`` only say whether that would change it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    before = README.read_text(encoding="utf-8")
    after = regenerate(before)
    if options.check:
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
