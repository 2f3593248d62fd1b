# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of hosts in one process: each address is a machine of its own, and their number costs little memory."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import ROOT

HOSTS = 300
LIMIT_KB = 120 * 1024  # clients included; the whole lab may take 300 MB

# Runs in a process of its own, because memory is what it measures. It talks plain HTTP to itself with NTLM through
# pywinrm, in a thread, and reports what it saw as one JSON line.
PROGRAM = """
import json, re, resource, sys
from pathlib import Path
from winrm.protocol import Protocol
from tests.lab.wire.api import Binding, Call, Emit
from tests.lab.wire.server import WireServer
from tests.lab.wire.threaded import running

class Named:
    async def run(self, call: Call, emit: Emit) -> int:
        emit.stdout(call.host.encode())
        return 0

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # an ordinary user's soft limit is 1024, as a rule
hosts = [f"127.0.{16 + n // 250}.{1 + n % 250}" for n in range(int(sys.argv[1]))]
server = WireServer(Named(), {"admin": "secret"})
with running(server, [Binding(host, http_port=0, https_port=0) for host in hosts]):
    answers, held = {}, []
    for host in hosts:
        url = f"http://{host}:{server.endpoints[host].http_port}/wsman"
        client = Protocol(url, "ntlm", "admin", "secret", proxy=None)
        shell = client.open_shell()
        command = client.run_command(shell, "hostname")
        answers[host] = client.get_command_output(shell, command)[0].decode()
        client.cleanup_command(shell, command)
        held.append(client)  # shells and connections stay open: the worst case
    expected = {"executions": 1, "shells_open": 1}.items()
    counted = [host for host in hosts if vars(server.counters[host]).items() >= expected]
    status = Path("/proc/self/status").read_text()  # getrusage would count the test runner that started this process
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
right = [host for host in hosts if answers[host] == host]
print(json.dumps({"right": len(right), "counted": len(counted), "kb": peak}))
"""


def test_three_hundred_hosts_from_one_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(HOSTS)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["right"], seen["counted"]) == (HOSTS, HOSTS)
    assert seen["kb"] < LIMIT_KB, seen
