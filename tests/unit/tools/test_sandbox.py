# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox: low ports on loopback for root and for ordinary users, and the loud way out where that is forbidden."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.tools import sandbox
from tests.tools.isolate import ROOT, SANDBOX

BIND = """
import os, socket
for address in ("127.0.0.1", "127.20.0.7"):
    with socket.create_server((address, 389)):
        pass
print(os.environ["WSP_SANDBOX"], os.stat("/proc/self/ns/net").st_ino)
"""
MAPPED = "import os; print(os.environ['WSP_LAB_MAPPED_PORTS'], 'WSP_SANDBOX' in os.environ)"
NOBODY = 65534


def outside() -> dict[str, str]:
    """An environment that is in no sandbox yet."""
    return {name: value for name, value in os.environ.items() if name not in (sandbox.MARK, sandbox.MAPPED)}


def run(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SANDBOX, *command], env=environment or outside(), capture_output=True, text=True, check=False
    )


def require_namespaces(user: int | None) -> None:
    """Skip where the system forbids what the sandbox would do."""
    way = ["unshare", "--user", "--map-root-user", "--net", "true"]
    if shutil.which("unshare") is None or subprocess.run(way, capture_output=True, check=False, user=user).returncode:
        pytest.skip("this system forbids network namespaces; the lab uses mapped ports here")


def own_namespace() -> int:
    return Path("/proc/self/ns/net").stat().st_ino


def bound_in_sandbox(user: int | None) -> subprocess.CompletedProcess[str]:
    """Bind low ports as that user, with a program and an interpreter that everybody may run."""
    if user is None:
        return run(sys.executable, "-c", BIND)
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("there is no interpreter that everybody may run")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a checkout may lie below a private folder
        copy = Path(shutil.copy(sandbox.__file__, folder))
        Path(folder).chmod(0o755)
        command = [python, str(copy), python, "-c", BIND]
        return subprocess.run(
            command, env=outside(), capture_output=True, text=True, check=False, cwd="/", user=user, group=user
        )


@pytest.mark.parametrize("user", [None, NOBODY] if os.geteuid() == 0 else [None])
def test_low_ports_of_many_loopback_addresses_are_free(user: int | None) -> None:
    require_namespaces(user)
    done = bound_in_sandbox(user)
    mark, namespace = done.stdout.split()
    assert (done.returncode, mark) == (0, "namespace"), done.stderr
    assert int(namespace) != own_namespace()


def test_exit_status_and_standard_input_pass_through() -> None:
    done = subprocess.run([*SANDBOX, "sh", "-c", "exit $(cat)"], env=outside(), input=b"7", check=False)
    assert done.returncode == 7


def test_a_sandbox_inside_a_sandbox_is_the_same_one() -> None:
    show = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
    done = run("sh", "-c", f'stat -L -c %i /proc/self/ns/net; {" ".join(SANDBOX)} "$0" -c "$1"', sys.executable, show)
    first, second = done.stdout.split()
    assert first == second


def test_without_namespaces_ports_are_mapped_and_one_line_says_so(tmp_path: Path) -> None:
    refusal = tmp_path / "unshare"
    refusal.write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n", encoding="ascii")
    refusal.chmod(0o755)
    environment = {**outside(), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run(sys.executable, "-c", MAPPED, environment=environment)
    assert done.stdout.split() == ["1", "False"]
    assert done.stderr.count("\n") == 1
    assert "mapped high ports" in done.stderr
    assert "Operation not permitted" in done.stderr


LEAVES = "import pathlib, sys; pathlib.Path('/tmp', sys.argv[1]).write_text('x')"
ISOLATED = """
import sys
from tests.tools import isolate
isolate.leftovers.GONE_WITHIN = 0.0
sys.exit(isolate.main(sys.argv[1:]))
"""


def test_only_what_a_command_has_made_itself_is_left_behind() -> None:
    require_namespaces(None)
    names = [f"tmp-{secrets.token_hex(8)}" for dummy in range(2)]
    own, strangers = (Path("/tmp", name) for name in names)
    # The stranger is a program outside of the sandbox that is started meanwhile: here, the test itself.
    command = [sys.executable, "-c", ISOLATED, sys.executable, "-c"]
    try:
        with subprocess.Popen(
            [*command, "input(); " + LEAVES, own.name],
            cwd=ROOT,
            env=outside(),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as run:
            strangers.write_text("x", encoding="ascii")
            dummy, said = run.communicate("\n", timeout=120)
        if own.exists():
            pytest.skip("this system has no overlays for this user; files in /tmp are not counted here")
        assert (run.returncode, said.strip()) == (1, f"left behind: {own}")
    finally:
        for path in (own, strangers):
            path.unlink(missing_ok=True)
