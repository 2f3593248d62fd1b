# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target script as text: what it is made of exists in Windows PowerShell 3.0, and it holds together.

Nothing is executed here: tree-sitter's PowerShell grammar gives the tree. The conformance cases run it elsewhere.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
import yaml

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange import installation
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.script import (
    NoAnswer,
    begin_marker,
    end_marker,
    loader,
    parse_answer,
    payload,
    printable,
    script_for,
    wire_form,
)

ROOT = Path(__file__).resolve().parents[5]
SOURCES = ROOT / "plugins" / "plugin_utils" / "target"
FILES = ("target.ps1", "loader.ps1")
ALLOWED: t.Final[Mapping[str, t.Any]] = yaml.safe_load(
    (ROOT / "tests" / "data" / "powershell_allowlist.yml").read_text(encoding="ascii")
)
PROTOCOL = (ROOT / "docs" / "target_protocol.md").read_text(encoding="utf-8")
# A drift check may send 40,000 bytes over HTTP with NTLM (tests/integration/test_publish.py counts them): everything
# else takes 15,750, standard input 4/3 of its size.
BUDGET_BYTES = 18_180
# A third of what starts the worker: a restart of an hour is polled a hundred times.
POLL_BYTES = 13_000
# Of the 8,191 that cmd takes, after UTF-16 and base64.
COMMAND_LINE_CHARACTERS = 3_000

Node = tree_sitter.Node
PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))

# Set by Invoke-Restart for everything that it calls: PowerShell's scopes are dynamic.
DYNAMIC = {"$work"}
# Called only when their region came along (design of script.regions_for).
OPTIONAL = {"Get-Events", "Get-Port", "Open-Session"}


def text_of(name: str) -> str:
    return (SOURCES / name).read_text(encoding="ascii")


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def source(node: Node) -> str:
    return (node.text or b"").decode()


@functools.cache
def tree(text: str) -> Node:
    return PARSER.parse(text.encode()).root_node


@functools.cache
def all_nodes(text: str) -> list[Node]:
    return list(walk(tree(text)))


def nodes(text: str, *kinds: str) -> list[Node]:
    return [node for node in all_nodes(text) if node.type in kinds]


def child(node: Node, kind: str) -> Node | None:
    return next((item for item in node.children if item.type == kind), None)


def functions(text: str) -> dict[str, Node]:
    return {source(t.cast(Node, child(node, "function_name"))): node for node in nodes(text, "function_statement")}


def commands(node: Node) -> Iterator[tuple[str, Node, list[Node]]]:
    """Every command below a node that is called by its name: name, node, arguments."""
    for item in walk(node):
        name = child(item, "command_name") if item.type == "command" else None
        if name is not None:
            elements = child(item, "command_elements")
            arguments = [part for part in elements.children if part.type != "command_argument_sep"] if elements else []
            yield source(name), item, arguments


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


LIMIT_POWERSHELL = version(ALLOWED["limits"]["powershell"])
LIMIT_NET = version(ALLOWED["limits"]["net"])
ALL_TEXT = "".join(text_of(name) for name in FILES)
OWN = set(functions(text_of("target.ps1")))


# -- grammar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_it_parses(name: str) -> None:
    broken = [node.start_point for node in walk(tree(text_of(name))) if node.type == "ERROR" or node.is_missing]
    assert broken == []


def test_the_grammar_notices_what_is_wrong() -> None:
    assert any(node.type == "ERROR" or node.is_missing for node in walk(tree("function F { if ($x -eq ) { }")))


@pytest.mark.parametrize("name", FILES)
def test_it_is_plain_ascii_without_tabs_and_long_strings(name: str) -> None:
    text = text_of(name)
    assert text.isascii() and "\t" not in text and "\r" not in text and text.endswith("\n")
    assert not re.search(r"@['\"]$", text, re.MULTILINE), "a here-string would not survive the wire form"


# -- allow-list ---------------------------------------------------------------------------------------------------


def test_every_cmdlet_and_parameter_is_on_the_list() -> None:
    for name, dummy, arguments in commands(tree(ALL_TEXT)):
        if name in OWN:
            continue
        assert name in ALLOWED["cmdlets"], f"{name}: neither a function of the script nor on the list"
        known = ALLOWED["cmdlets"][name]["parameters"]
        for argument in arguments:
            if argument.type == "command_parameter":
                assert source(argument).lstrip("-") in known, f"{name} {source(argument)}"


def test_no_alias_and_no_native_program() -> None:
    names = {name for name, dummy, dummy2 in commands(tree(ALL_TEXT))}
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+-[A-Z]\w+", name) for name in names), names
    invoked = [source(node) for node in nodes(ALL_TEXT, "command") if child(node, "command_name") is None]
    assert sorted(text.partition(")")[0][:30] for text in invoked) == [
        '& "Invoke-$($Request.op',
        "& $Do",
        "& $Target.Session",
        "&([scriptblock]::Create($j.scr",
    ]


def _type_names() -> Iterator[str]:
    for node in nodes(ALL_TEXT, "type_literal"):
        yield source(node)[1:-1].removesuffix("[]")
    for name, dummy, arguments in commands(tree(ALL_TEXT)):
        if name == "New-Object":
            yield source(arguments[0]).removesuffix("[]")


def _types() -> dict[str, Mapping[str, t.Any]]:
    return {name.lower(): entry for name, entry in ALLOWED["types"].items()}


def test_every_type_is_on_the_list() -> None:
    known = set(_types()) | set(ALLOWED["language_types"])
    assert {name for name in _type_names() if name.lower() not in known} == set()


def _members(*, static: bool) -> Iterator[tuple[str, str]]:
    for node in nodes(ALL_TEXT, "member_access", "invokation_expression"):
        name = child(node, "member_name")
        if name is not None and (child(node, "::") is not None) is static:
            yield source(node.children[0]), source(name)


def test_every_static_member_is_on_the_list() -> None:
    for target, member in _members(static=True):
        assert target.startswith("["), target
        assert member in _types()[target[1:-1].lower()]["members"], f"{target}::{member}"


def test_every_member_is_on_the_list_or_is_data() -> None:
    known = set(ALLOWED["members"]) | set(ALLOWED["data"])
    assert {name for dummy, name in _members(static=False) if not name.startswith("$")} - known == set()


def test_every_operator_keyword_and_mark_is_on_the_list() -> None:
    lists = [*ALLOWED["operators"].values(), *ALLOWED["keywords"].values(), ALLOWED["punctuation"]]
    known = {word for words in lists for word in words}
    assert {node.type for node in walk(tree(ALL_TEXT)) if not node.is_named} - known == set()
    for wanted in ALLOWED["operators"], ALLOWED["keywords"]:
        assert all(version(since) <= LIMIT_POWERSHELL for since in wanted)


def test_every_variable_that_the_script_does_not_set_is_on_the_list() -> None:
    known = {name.lower() for group in ALLOWED["variables"].values() for name in group}
    own = {name.lower() for name in _set_in(tree(ALL_TEXT))}
    used = {_variable(node) for node in nodes(ALL_TEXT, "variable", "braced_variable")}
    assert used - own - known == set()


def test_nothing_on_the_list_is_newer_than_the_limits() -> None:
    for entry in ALLOWED["cmdlets"].values():
        assert all(version(since) <= LIMIT_POWERSHELL for since in [entry["since"], *entry["parameters"].values()])
    for entry in ALLOWED["types"].values():
        assert all(version(since) <= LIMIT_NET for since in [entry["since"], *entry["members"].values()])
    assert all(version(entry["since"]) <= LIMIT_NET for entry in ALLOWED["members"].values())
    assert all(version(entry["since"]) <= LIMIT_POWERSHELL for entry in ALLOWED["language_types"].values())
    assert all(
        version(since) <= LIMIT_POWERSHELL for group in ALLOWED["variables"].values() for since in group.values()
    )


def test_every_entry_names_a_source() -> None:
    for group in "cmdlets", "types", "members", "language_types":
        assert {entry["source"] for entry in ALLOWED[group].values()} <= set(ALLOWED["sources"]), group


def test_nothing_stands_on_the_list_unused() -> None:
    names = {name for name, dummy, dummy2 in commands(tree(ALL_TEXT))}
    assert set(ALLOWED["cmdlets"]) - names == set()
    used = {name.lower() for name in _type_names()}
    assert {name for name in ALLOWED["types"] if name.lower() not in used} == set()
    members = {name for dummy, name in _members(static=False)}
    assert (set(ALLOWED["members"]) | set(ALLOWED["data"])) - members == set()


@pytest.mark.parametrize(
    "text",
    [
        "Get-FileHash x",
        "ConvertTo-Json -EscapeHandling x",
        "[Convert]::ToHexString($x)",
        "$a ? 1 : 2",
        "$a ?? 1",
        "a && b",
        "[Hashtable]::new()",
        "$x.ForEach({ 1 })",
    ],
)
def test_what_windows_powershell_3_lacks_would_be_noticed(text: str) -> None:
    lists = [*ALLOWED["operators"].values(), *ALLOWED["keywords"].values(), ALLOWED["punctuation"]]
    marks = {word for words in lists for word in words}
    root = PARSER.parse(text.encode()).root_node
    odd = [node.type for node in walk(root) if node.type == "ERROR" or (not node.is_named and node.type not in marks)]
    for name, dummy, arguments in commands(root):
        known = ALLOWED["cmdlets"].get(name)
        odd += [] if known else [name]
        odd += [
            source(part) for part in arguments if source(part)[1:] not in (known or {"parameters": ()})["parameters"]
        ]
    for node in walk(root):
        name = child(node, "member_name") if node.type in ("member_access", "invokation_expression") else None
        if name is not None:
            kind = _types().get(source(node.children[0])[1:-1].lower(), {"members": ALLOWED["members"]})
            odd += [] if source(name) in kind["members"] else [source(name)]
    assert odd


def _requests() -> Iterator[dict[str, t.Any]]:
    for computer in (None, "EXCH1"):
        for op in ("inspect", "apply", "restart", "restart_status"):
            yield {"op": op, "computer": computer, "credential": None}
        yield {"op": "inspect", "computer": computer, "credential": {"username": "u"}, "events": {}, "ports": [1]}


def _request_name(request: Mapping[str, t.Any]) -> str:
    return f"{request['op']}-{request['computer']}"


# -- coherence ----------------------------------------------------------------------------------------------------


def _variable(node: Node) -> str:
    return "$" + source(node).lstrip("$").strip("{}").lower()


def _set_in(node: Node) -> set[str]:
    """Lower-case names of the variables that a piece of script sets: parameters, assignments, loops."""
    found = set()
    for item in walk(node):
        if item.type == "script_parameter" or item.type == "foreach_statement":
            found.add(_variable(t.cast(Node, child(item, "variable"))))
        elif item.type in ("left_assignment_expression", "post_increment_expression"):
            found |= {_variable(part) for part in walk(item) if part.type in ("variable", "braced_variable")}
    return found


def _top_level_names(text: str) -> set[str]:
    inside = {id(node) for function in functions(text).values() for node in walk(function)}
    found = set()
    for node in walk(tree(text)):
        if id(node) not in inside and node.type in ("left_assignment_expression", "script_parameter"):
            found |= {_variable(part) for part in walk(node) if part.type == "variable"}
    return found


@pytest.mark.parametrize("request_", list(_requests()), ids=_request_name)
def test_every_function_sets_what_it_reads(request_: dict[str, t.Any]) -> None:
    text = script_for(request_)
    constants = _top_level_names(text)
    automatic = {name.lower() for group in ALLOWED["variables"].values() for name in group}
    for name, function in functions(text).items():
        read = {_variable(node) for node in walk(function) if node.type in ("variable", "braced_variable")}
        assert read - _set_in(function) - constants - automatic - DYNAMIC == set(), name


def _assigned(node: Node) -> set[str]:
    """Lower-case names of the variables that a piece of script gives a new value, not a new member or element."""
    found = set()
    for item in walk(node):
        if item.type in ("script_parameter", "foreach_statement"):
            found.add(_variable(t.cast(Node, child(item, "variable"))))
        elif item.type == "left_assignment_expression":
            names = (source(part) for part in walk(item) if part.type in ("variable", "braced_variable"))
            found |= {"$" + name.strip("${}").lower() for name in names if name in re.split(r"[,\s]+", source(item))}
    return found


def test_no_function_hides_what_the_whole_script_uses() -> None:
    """A local variable is seen by every function that is called below it, and names have no case: $own hides $Own."""
    text = text_of("target.ps1")
    head = text[: text.index("\nfunction ")]
    of_the_script = {"$servicekeys", "$digest", "$finishable", "$entrykeys", "$controllers"}
    shared = {_variable(node) for node in nodes(head, "variable")} | of_the_script | DYNAMIC
    assert shared >= {"$own", "$text", "$request", "$target", "$answer", "$work"}
    hidden = {name: _assigned(function) & shared for name, function in functions(text).items()}
    assert {name: found for name, found in hidden.items() if found} == {"Invoke-Restart": {"$work"}}


@pytest.mark.parametrize("body", ["$own = 1", "$a, $OWN = f", "foreach ($own in 1) { }", "param($Own) 1"])
def test_a_hidden_name_would_be_noticed(body: str) -> None:
    assert "$own" in _assigned(tree(f"function F {{ {body} }}"))
    assert "$own" not in _assigned(tree("function F { $own.at = 1; $x[$own] = 2; $y = $own }"))


def test_every_name_of_a_table_is_set_somewhere() -> None:
    """Under strict mode a misspelt key of a table is an error at run time; here it is one at once."""
    text = text_of("target.ps1")
    keys = {source(node) for node in nodes(text, "key_expression")}
    words = {word for node in nodes(text, "string_literal") for word in re.findall(r"\w+", source(node))}
    protocol = set(re.findall(r"\w+", PROTOCOL))
    keys |= {source(t.cast(Node, child(node, "member_name"))) for node in _assigned_members(text)}
    envelope = {"script", "request"}
    assert set(ALLOWED["data"]) - keys - words - protocol - envelope == set()


def _assigned_members(text: str) -> Iterator[Node]:
    for node in nodes(text, "left_assignment_expression"):
        for item in walk(node):
            if item.type == "member_access" and child(item, "member_name") is not None:
                yield item


def _parameters(function: Node) -> int:
    return sum(1 for node in walk(function) if node.type == "script_parameter" and _owner(node) == function)


def _owner(node: Node) -> Node | None:
    """The function or script block that a parameter belongs to."""
    parent = node.parent
    while parent is not None and parent.type not in ("function_statement", "script_block_expression"):
        parent = parent.parent
    return parent


def test_no_function_gets_more_arguments_than_it_takes() -> None:
    text = text_of("target.ps1")
    # The direct and the computer region define the same functions, with what each needs.
    takes: dict[str, int] = {}
    for node in nodes(text, "function_statement"):
        name = source(t.cast(Node, child(node, "function_name")))
        takes[name] = max(takes.get(name, 0), _parameters(node))
    for name, node, arguments in commands(tree(text)):
        if name in OWN:
            # A call's brackets stand beside what is called.
            given = [part for part in arguments if part.type != "argument_list"]
            assert len(given) <= takes[name], source(node)


@pytest.mark.parametrize("request_", list(_requests()), ids=_request_name)
def test_what_is_sent_calls_nothing_that_is_not_sent(request_: dict[str, t.Any]) -> None:
    script = script_for(request_)
    assert not any(node.type == "ERROR" or node.is_missing for node in walk(tree(script)))
    sent = set(functions(script))
    whole = bool(request_.get("events"))
    called = {name for name, dummy, dummy2 in commands(tree(script))} - set(ALLOWED["cmdlets"])
    if whole and request_["computer"]:
        assert sent >= OPTIONAL
    assert called - sent <= OPTIONAL
    invoked = f"Invoke-{request_['op']}".lower()
    assert invoked in {name.lower() for name in sent}
    assert len(sent) == len(nodes(script, "function_statement")), "a function is defined twice"


def test_direct_and_computer_define_the_same_functions() -> None:
    regions = script.regions()
    assert set(functions(regions["direct"])) == set(functions(regions["computer"]))


def test_every_error_code_of_the_script_is_in_the_protocol_and_the_other_way_round() -> None:
    table = PROTOCOL.partition("### Error codes")[2].partition("Codes of the controller alone")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    text = text_of("target.ps1")
    raised = set(re.findall(r"Stop-Run ([a-z_]+)\b", text)) | set(re.findall(r"'([a-z_]+_refused|\w+_denied)'", text))
    raised |= {source(node) for node in nodes(text, "key_expression") if source(node) in documented}
    raised |= {"internal"} & set(re.findall(r"'(\w+)'", text))
    raised |= set(re.findall(r'"code":"(\w+)"', text_of("loader.ps1")))
    assert raised == documented


def _reads(name: str) -> str:
    return source(functions(text_of("target.ps1"))[name])


def _numbers(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", text)}


def test_the_table_of_codes_that_pass_is_the_script_s() -> None:
    table = PROTOCOL.partition("### Codes of Windows that pass")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    waited = [(_numbers(row[0]), row[3], row[4]) for row in rows[2:]]
    assert all(row[5] for row in rows[2:]), "each code has its reason"
    text = text_of("target.ps1")

    def codes(pattern: str) -> set[int]:
        return _numbers(t.cast("re.Match[str]", re.search(pattern, text, re.MULTILINE))[1])

    locked, passing = codes(r"locked = ([\d, ]+);"), codes(r"^\$Passing = ([\d, ]+)$")
    gone = codes(r"computer_unreachable = \$Passing \+ ([\d, ]+)$") | passing
    assert set().union(*(of for of, read, dummy in waited if read == "yes")) == locked | passing
    assert set().union(*(of for of, dummy, start in waited if start == "yes")) == gone | {6, 1055, 1056}


def test_what_must_not_be_there() -> None:
    text = ALL_TEXT.lower()
    for word in ("kill", "invoke-expression", "stop-process", "wmiobject", "write-host", "[console]"):
        assert word not in text, word
    assert text.count("win32_process") == 1
    assert "credential" not in _reads("Start-Worker").lower(), "nothing secret on a command line"


# -- envelope -----------------------------------------------------------------------------------------------------


def _leaves(text: str) -> list[tuple[str, str]]:
    found = []
    stack = [PARSER.parse(text.encode()).root_node]
    while stack:
        node = stack.pop()
        if node.type == "comment":
            continue
        stack += reversed(node.children)
        if not node.children and source(node).strip() not in ("", ";"):
            found.append((node.type, source(node).strip()))
    return found


def test_the_wire_form_has_the_same_tokens() -> None:
    text = text_of("target.ps1")
    assert _leaves(wire_form(text)) == _leaves(text)


@pytest.mark.parametrize("computer", [None, "EXCHANGE-SERVER-01"])
def test_a_drift_check_stays_within_its_budget(computer: str | None) -> None:
    credential = {"username": "EUROPE\\administrator", "password": "0123456789abcdef"}
    request = {
        "version": 1,
        "op": "inspect",
        "computer": computer,
        "credential": credential if computer else None,
        "run": "0f3c1a52-7d1e-4c11-9c3e-5a2f4d6b8e90",
        "who": "administrator@controller.example.com",
        **installation.inspection_request(installation.Places()),
    }
    assert len(payload(request, NONCE)) < BUDGET_BYTES


@pytest.mark.parametrize("computer", [None, "EXCHANGE-SERVER-01"])
def test_a_poll_stays_within_its_budget(computer: str | None) -> None:
    run = "0f3c1a52-7d1e-4c11-9c3e-5a2f4d6b8e90"
    credential = {"username": "EUROPE\\administrator", "password": "0123456789abcdef"}
    request = {
        "version": 1,
        "op": "restart_status",
        "computer": computer,
        "credential": credential if computer else None,
        "run": run,
        "who": "administrator@controller.example.com",
        "of": run,
        "wait": 60,
    }
    assert len(payload(request, NONCE)) < POLL_BYTES


def test_the_loader_fits_on_a_command_line() -> None:
    assert len(loader()) * 8 / 3 < COMMAND_LINE_CHARACTERS


def test_the_loader_answers_an_old_powershell_in_the_protocol_s_own_way() -> None:
    text = loader()
    begin, said, end = text.partition("-lt 3){")[2].partition("}\nelse{")[0].splitlines()
    assert (begin, end) == (f'"{begin_marker("$n")}"', f'"{end_marker("$n")}"')
    said = "".join(re.findall(r"'([^']*)'", said)).replace('"found":""', '"found":"2.0"')
    answer = parse_answer(f"{BEGIN}\n{said}\n{END}", NONCE)
    assert answer["error"]["code"] == "powershell_too_old"
    assert answer["error"]["detail"] == {"found": "2.0"}


def test_the_payload_is_one_line_of_ascii() -> None:
    request = {"op": "inspect", "computer": None, "who": "J\u00fcrgen@\u65e5\u672c"}
    text = payload(request, NONCE)
    assert text.isascii() and text.endswith("\n")
    nonce, line = text.splitlines()
    assert nonce == NONCE
    assert json.loads(line) == {"script": script_for(request), "request": request}


def test_a_password_travels_in_a_line_of_its_own() -> None:
    request = {"op": "restart", "computer": "E", "credential": {"username": "u", "password": "p\u00e4\"\u65e5'\n$x"}}
    dummy, line, secret = payload(request, NONCE).splitlines()
    assert base64.b64decode(secret).decode() == "p\u00e4\"\u65e5'\n$x"
    assert json.loads(line)["request"] == {"op": "restart", "computer": "E", "credential": {"username": "u"}}
    assert request["credential"]["password"], "the caller's own is left as it is"


def test_no_cmdlet_gets_the_password() -> None:
    """What a cmdlet gets as a parameter is in the log where Module Logging is on."""
    secrets = {"$secret", "$s", "$letter", "$password"}
    for name, dummy, arguments in commands(tree(ALL_TEXT)):
        used = {_variable(node) for item in arguments for node in walk(item) if node.type == "variable"}
        if name in OWN:
            assert "$secret" not in used, name
        elif "$password" in used:
            assert name in ("New-Object", "New-PSDrive"), name
        else:
            assert used & secrets == set(), name
    # Of which a log shows the type's name.
    assert "$password = New-Object Security.SecureString" in _reads("Open-Session")
    worker = _reads("Start-Worker")
    assert "ConvertFrom-Json $t;" in worker and "$n,$t,$s=" in worker


ANSWER = '{"version":1,"op":"inspect"}'
NONCE = "0123456789abcdef"
BEGIN, END = begin_marker(NONCE), end_marker(NONCE)
OTHER = f"{begin_marker('f00')}\n{{}}\n{end_marker('f00')}\n"


@pytest.mark.parametrize(
    "stdout",
    [
        f"{BEGIN}\n{ANSWER}\n{END}\n",
        f"{BEGIN}\r\n{ANSWER}\r\n{END}\r\n",
        f"Profile loaded.\r\nWARNING: x\r\n{BEGIN}\r\n{ANSWER}\r\n{END}\r\nBye.",
        f"{BEGIN}\n{{broken\n{BEGIN}\n{ANSWER}\n{END}",
        f"{OTHER}{BEGIN}\n{ANSWER}\n{END}\n{OTHER}",
    ],
)
def test_an_answer_is_found_whatever_surrounds_it(stdout: str) -> None:
    assert parse_answer(stdout, NONCE) == json.loads(ANSWER)


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "x",
        OTHER,
        END,
        f"{BEGIN}\n{ANSWER}\n",
        f"{BEGIN}\n{ANSWER}\n{end_marker('f00')}",
        f"{BEGIN}\n{{\n{END}",
        f"{BEGIN}\n[1]\n{END}",
        f"{BEGIN}\n{'[' * 100_000}\n{END}",
        f"{BEGIN}\n{'[' * 600}{']' * 600}\n{END}",
        f'{BEGIN}\n{{"n":{"9" * 5000}}}\n{END}',
    ],
)
def test_no_answer_is_told_from_an_answer(stdout: str) -> None:
    with pytest.raises(NoAnswer) as caught:
        parse_answer(stdout, NONCE)
    assert caught.value.output == stdout


def test_what_is_wrong_with_an_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, reason in (("[" * 100_000, "deep"), ("{", "no JSON"), ("[1]", "no JSON object")):
        with pytest.raises(NoAnswer, match=reason):
            parse_answer(f"{BEGIN}\n{text}\n{END}", NONCE)
    monkeypatch.setattr(script, "LONGEST_OUTPUT", 100)
    with pytest.raises(NoAnswer, match=r"too long: 1\d+ characters"):
        parse_answer(f"{BEGIN}\n{ANSWER}\n{END}", NONCE)


def test_no_terminal_gets_an_order_from_an_answer() -> None:
    said = {"a\x1b]0;x\x07": ["\x1b[2J", "two\r\nlines\tof text\rgone\x9b31m\x7f", 1, None, True]}
    heard = parse_answer(f"{BEGIN}\n{json.dumps(said)}\n{END}", NONCE)
    bad = "\ufffd"
    assert heard == {f"a{bad}]0;x{bad}": [f"{bad}[2J", f"two\r\nlines\tof text{bad}gone{bad}31m{bad}", 1, None, True]}
    assert printable("\x1b[31mred\x1b[0m") == f"{bad}[31mred{bad}[0m"


def test_an_operation_that_does_not_exist_has_no_script() -> None:
    with pytest.raises(KeyError):
        script_for({"op": "reboot", "computer": None})
