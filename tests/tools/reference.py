# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the generated parts of docs/reference.md from the documentation of modules, filters and the role.

A list of options stands between ``<!-- options of module win_ini -->`` and ``<!-- end of options -->``, one of returned
values between ``<!-- results of module publish_plan -->`` and ``<!-- end of results -->``; each is replaced whole. The
index of all plugins stands between ``<!-- index of plugins -->`` and ``<!-- end of index -->``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import textwrap
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conftest import ROOT, link_collection

COLLECTION = "msexchange.winsock_proxy"
REFERENCE = ROOT / "docs" / "reference.md"
BLOCK = re.compile(
    r"(?P<begin><!-- (?P<what>options|results) of (?P<kind>\w+) (?P<name>\w+) -->\n)"
    r"(?P<list>.*?)(?P<end><!-- end of (?P=what) -->)",
    re.DOTALL,
)
INDEX = re.compile(r"(?P<begin><!-- index of plugins -->\n).*?(?P<end><!-- end of index -->)", re.DOTALL)
PUBLIC = {"module": "modules", "filter": "filter", "callback": "callback"}
WIDTH = 120
# What every module of the action group takes, told once: the block ``options of group target``.
CONNECTION = frozenset({"computer", "computer_username", "computer_password", "target_deadline", "lock_wait"})
TOLD_BY = "wspcfg"

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
    """One line of Markdown from a paragraph in Ansible's markup."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(re.sub(r"\\([()\\])", r"\1", text).split())


@functools.cache
def documented(kind: str) -> Mapping[str, t.Any]:
    """What ansible-doc knows of all public plugins of a kind, by their names without the collection's."""
    room = {**PUBLIC, "role": "roles"}[kind]
    names = [path.stem for path in (ROOT / ("" if kind == "role" else "plugins") / room).glob("[!_]*")]
    if not names:
        return {}
    # ansible-doc reads collections by path; the link gives the checkout the path that it wants.
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(link_collection(ROOT)), "NO_COLOR": "1"}
    program = str(Path(sys.executable).parent / "ansible-doc")
    command = [program, "-t", kind, "--json", *(f"{COLLECTION}.{name}" for name in sorted(names))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ansible-doc -t {kind} failed:\n{done.stderr}")
    return {name.rpartition(".")[2]: page for name, page in json.loads(done.stdout).items()}


def options_of(kind: str, name: str) -> Mapping[str, t.Any]:
    """Options of a plugin, or of the main entry point of a role."""
    page = documented(kind)[name]
    options: Mapping[str, t.Any] = page["entry_points"]["main"]["options"] if kind == "role" else page["doc"]["options"]
    return options


def results_of(name: str) -> Mapping[str, t.Any]:
    """Returned values of a module."""
    results: Mapping[str, t.Any] = documented("module")[name]["return"]
    return results


def flattened(options: Mapping[str, t.Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    """Options and, behind each, its suboptions under ``parent.child``."""
    for name in options:
        yield prefix + name, options[name]
        yield from flattened(options[name].get("suboptions") or options[name].get("options") or {}, f"{prefix}{name}.")


def paragraphs(value: t.Any) -> list[str]:
    """A description, which may be one text or a list of them."""
    return [value] if isinstance(value, str) else list(value)


def shape(option: Mapping[str, t.Any]) -> str:
    """Type, elements, whether it must be given, the default as YAML would show it, and the choices."""
    kind = str(option.get("type", "str"))
    if option.get("elements"):
        kind += f" of {option['elements']}"
    value, choices = option.get("default"), [choice for choice in option.get("choices") or [] if choice != ""]
    parts = [kind, *(["required"] if option.get("required") else [])]
    if value is not None:
        parts.append(f"default `{json.dumps(value) if not isinstance(value, str) else value or repr('')}`")
    if choices:
        parts.append("one of " + " ".join(f"`{choice}`" for choice in choices))
    return ", ".join(parts)


def item(name: str, option: Mapping[str, t.Any]) -> str:
    """An option, or a returned value, as an item of a list."""
    meaning = " ".join(markdown(text) for text in paragraphs(option.get("description", "")))
    text = f"**`{name}`** ({shape(option)}): {meaning}"
    lines = textwrap.wrap(
        text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines) + "\n"


def listed(what: str, kind: str, name: str) -> str:
    """The list of one plugin's options or results; what the modules of the action group share is told once."""
    if what == "results":
        return "".join(item(key, value) for key, value in results_of(name).items())
    if kind == "group":
        shared = options_of("module", TOLD_BY)
        return "".join(item(option, entry) for option, entry in flattened(shared) if option in CONNECTION)
    own = flattened(options_of(kind, name))
    return "".join(item(option, entry) for option, entry in own if kind != "module" or option not in CONNECTION)


def index() -> str:
    """One line for every public plugin, with its short description."""
    rows = ["| Name | Kind | Does |", "| --- | --- | --- |"]
    for kind in PUBLIC:
        for name, page in sorted(documented(kind).items()):
            does = markdown(page["doc"]["short_description"]).replace("|", r"\|")
            rows.append(f"| `{name}` | {kind} | {does} |")
    return "\n".join(rows) + "\n"


def regenerate(text: str) -> str:
    """The page with its index and every list as the documentation has it now."""
    text = INDEX.sub(lambda found: found["begin"] + index() + found["end"], text)
    return BLOCK.sub(
        lambda found: found["begin"] + listed(found["what"], found["kind"], found["name"]) + found["end"], text
    )


def main(argv: list[str]) -> int:
    """Rewrite the page, or with ``--check`` only say whether that would change it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    before = REFERENCE.read_text(encoding="utf-8")
    after = regenerate(before)
    if options.check:
        return int(before != after)
    REFERENCE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
