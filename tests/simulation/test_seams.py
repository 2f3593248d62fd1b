# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated script touches nothing of Windows but what the model stands for: shown on its syntax tree."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell

from tests.simulation import coverage, seams

Node = tree_sitter.Node
PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
HERE = Path(__file__).parent

#: Types that compute, or only name something: nothing of a machine is in them.
PURE: t.Final = frozenset(
    """
    array bitconverter bool byte byte[] char char[] componentmodel.win32exception convert datetime double exception
    globalization.cultureinfo hashtable int int64 io.fileaccess io.fileattributes io.filemode io.fileoptions
    io.fileshare io.path long management.automation.pscustomobject math microsoft.win32.registryhive
    microsoft.win32.registrykeypermissioncheck microsoft.win32.registryoptions notsupportedexception ordered
    pscustomobject scriptblock regex runtime.interopservices.marshal security.cryptography.sha256cryptoserviceprovider
    security.accesscontrol.registryrights
    security.principal.securityidentifier security.securityexception string string[] stringcomparer text.encoding
    threading.thread valuetype collections.hashtable
    """.split()
)
#: Cmdlets that touch nothing.
PURE_CMDLETS: t.Final = frozenset(
    "ForEach-Object New-Object Out-Null Select-Object Set-StrictMode Sort-Object Where-Object".split()
)


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def source(node: Node) -> str:
    return (node.text or b"").decode()


def tree(text: str) -> list[Node]:
    return list(walk(PARSER.parse(text.encode()).root_node))


@pytest.fixture(scope="module", params=sorted(seams.SCRIPTS))
def nodes(request: pytest.FixtureRequest) -> list[Node]:
    return tree(seams.scripts()[request.param])


def child(node: Node, kind: str) -> Node | None:
    return next((item for item in node.children if item.type == kind), None)


def commands(nodes: list[Node]) -> Iterator[tuple[str, Node]]:
    for node in nodes:
        name = child(node, "command_name") if node.type == "command" else None
        if name is not None:
            yield source(name), node


def test_every_type_is_pure_or_the_models(nodes: list[Node]) -> None:
    used = {source(node)[1:-1] for node in nodes if node.type == "type_literal"}
    for name, node in commands(nodes):
        if name == "New-Object":
            elements = [part for part in t.cast(Node, child(node, "command_elements")).children if part.is_named]
            used.add(next(source(part) for part in elements if part.type != "command_argument_sep"))
    assert {name for name in used if not name.startswith("Sim.") and name.lower() not in PURE} == set()


def test_every_cmdlet_is_pure_hidden_or_the_scripts_own(nodes: list[Node]) -> None:
    own = {source(t.cast(Node, child(node, "function_name"))) for node in nodes if node.type == "function_statement"}
    used = {name for name, dummy in commands(nodes)}
    # What belongs to another region is called only where that came along.
    assert used - own - PURE_CMDLETS - set(seams.CMDLETS) <= {"Open-Session", "Close-Session"}


def test_nothing_comes_from_the_environment(nodes: list[Node]) -> None:
    names = {source(node).lower() for node in nodes if node.type == "variable"}
    assert {
        name for name in names if name.startswith("$env:") or name in ("$pshome", "$home", "$pid", "$host")
    } == set()


def test_clocks_are_the_models(nodes: list[Node]) -> None:
    text = "".join(source(node) for node in nodes if node.type == "program")
    assert not re.search(r"\[(datetime|DateTimeOffset)\]::(Now|UtcNow)|\[Environment\]::(?!ExitCode)", text)


def test_each_hidden_cmdlet_is_hidden() -> None:
    driver = (HERE / "driver.ps1").read_text(encoding="ascii")
    assert set(re.findall(r"function global:([\w-]+)", driver)) >= set(seams.CMDLETS)


def test_each_stand_in_exists() -> None:
    world = (HERE / "world.cs").read_text(encoding="ascii")
    classes = set(re.findall(r"public (?:static )?class (\w+)", world))
    named = {*seams.TYPES.values(), *(model.strip("[]").split("]")[0] for model in seams.MEMBERS.values())}
    assert {name.removeprefix("Sim.") for name in named} <= classes


def test_a_contact_that_nobody_knows_is_noticed() -> None:
    nodes = tree("[IO.Pipes.Pipe]::Now; $env:TEMP; New-Object Net.WebClient")
    with pytest.raises(AssertionError):
        test_every_type_is_pure_or_the_models(nodes)
    with pytest.raises(AssertionError):
        test_nothing_comes_from_the_environment(nodes)


def test_the_effects_of_the_script_are_found() -> None:
    sites = coverage.sites()
    assert {
        "Save-Journal key.set",
        "Send-Control service.start",
        "Send-Control service.stop",
        "Set-LocalFile file.replace",
    } <= sites
    assert len(sites) > 20


def test_a_text_that_the_script_does_not_have_is_an_error() -> None:
    with pytest.raises(LookupError):
        seams.scripts(changes={"no such text": ""})
