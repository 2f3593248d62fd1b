# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private instances of real servers on loopback: started for one test, ended with it, kept in one directory."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

STARTUP_SECONDS = 30.0
SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin")


def require(program: str, package: str) -> str:
    """Return the path of a program, or skip the test and say what to install."""
    found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_DIRECTORIES)))
    if found is None:
        pytest.skip(f"NOT TESTED: {program} is missing; apt-get install {package}")
    return found


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory that a server's own account can enter, too."""
    anywhere = "/tmp" if is_real_root() else None  # the checkout may lie where only root gets
    with tempfile.TemporaryDirectory(prefix="probe-", dir=anywhere) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextlib.contextmanager
def running(
    command: Sequence[str], ports: Sequence[int], log: Path, *, after: bytes = b"", feed: bytes = b""
) -> Iterator[None]:
    """Run a server until its ports accept connections, and end it and its children afterwards.

    Args:
        command: Program and arguments; it must stay in the foreground.
        ports: Ports to wait for.
        log: Where its output goes.
        after: A line of output that holds this makes it find ``feed`` on its standard input, which stays open.
        feed: See ``after``.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    log.touch()
    reader = threading.Thread(target=_follow, args=(process, log, after, feed))
    reader.start()
    try:
        for port in ports:
            _wait_for(port, process, log)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        reader.join()


def _follow(process: subprocess.Popen[bytes], log: Path, after: bytes, feed: bytes) -> None:
    """Copy a server's output to its log, and feed it at the right moment."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("pipes were asked for")
    with process.stdin, process.stdout, log.open("ab", buffering=0) as output:
        for line in process.stdout:
            output.write(line)
            if feed and after in line:
                process.stdin.write(feed)
                process.stdin.flush()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"no listener on port {port}: {log.read_text(errors='replace')}")


def certificate(path: Path, *, bits: int = 2048) -> tuple[Path, Path]:
    """Make a certificate for mail.example.com that ends in 30 days; return it and its key."""
    openssl = require("openssl", "openssl")
    chain, key = path / "certificate.pem", path / "key.pem"
    subject = "/O=Example/CN=mail.example.com"
    command = [openssl, "req", "-x509", "-newkey", f"rsa:{bits}", "-nodes", "-subj", subject, "-days", "30"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    return chain, key


def is_real_root() -> bool:
    """Whether this is root who may become any other user, and not root of a user namespace with one account."""
    if os.geteuid() != 0:
        return False
    fields = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    return int(fields[2]) > 65000


def skip_without_accounts(server: str) -> None:
    """Skip a server that changes accounts, where there is only one."""
    if os.geteuid() == 0 and not is_real_root():
        pytest.skip(f"NOT TESTED: {server} changes its account, and this user namespace has only one")


def own_account() -> tuple[str, str]:
    """Names of the account and group that this process runs as."""
    return pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


@contextlib.contextmanager
def dovecot(path: Path) -> Iterator[dict[str, int]]:
    """Dovecot with POP3 and IMAP4, in clear and with TLS."""
    program = require("dovecot", "dovecot-pop3d dovecot-imapd")
    skip_without_accounts("dovecot")
    user, group = own_account()
    internal, login = ("dovecot", "dovenull") if is_real_root() else (user, user)
    group = "dovecot" if is_real_root() else group
    chain, key = certificate(path)
    ports = {name: free_port() for name in ("pop3", "pop3s", "imap4", "imap4s")}
    config = path / "dovecot.conf"
    config.write_text(
        f"""
base_dir = {path}/run
state_dir = {path}/run
log_path = {path}/dovecot.log
protocols = pop3 imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
service anvil {{
  chroot =
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {ports["pop3"]}
  }}
  inet_listener pop3s {{
    port = {ports["pop3s"]}
    ssl = yes
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {ports["imap4"]}
  }}
  inet_listener imaps {{
    port = {ports["imap4s"]}
    ssl = yes
  }}
}}
passdb {{
  driver = static
}}
userdb {{
  driver = static
  args = uid={internal} gid={group} home={path}
}}
""",
        encoding="ascii",
    )
    with running([program, "-F", "-c", str(config)], list(ports.values()), path / "output"):
        yield ports


@contextlib.contextmanager
def slapd(path: Path, *, more: str = "") -> Iterator[dict[str, int]]:
    """OpenLDAP without a database: its root entry and its bind are all that a check needs."""
    program = require("slapd", "slapd")
    chain, key = certificate(path)
    ports = {"ldap": free_port(), "ldaps": free_port()}
    config = path / "slapd.conf"
    config.write_text(
        f"pidfile {path}/slapd.pid\nTLSCertificateFile {chain}\nTLSCertificateKeyFile {key}\n{more}\n", encoding="ascii"
    )
    urls = f"ldap://127.0.0.1:{ports['ldap']}/ ldaps://127.0.0.1:{ports['ldaps']}/"
    with running([program, "-d", "0", "-f", str(config), "-h", urls], list(ports.values()), path / "output"):
        yield ports


@contextlib.contextmanager
def exim(path: Path) -> Iterator[int]:
    """Exim, whose daemon delivers nothing and offers STARTTLS."""
    program = require("exim4", "exim4-daemon-light")
    port = free_port()
    chain, key = certificate(path)
    for each in (chain, key):
        each.chmod(0o644)  # exim reads them as its own account
    skip_without_accounts("exim")
    user, group = own_account()
    config = path / "exim.conf"
    config.write_text(
        f"""
spool_directory = {path}/spool
log_file_path = {path}/%slog
primary_hostname = mail.example.com
exim_user = {user}
exim_group = {group}
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = {chain}
tls_privatekey = {key}
acl_smtp_connect = acl_accept
begin acl
acl_accept:
  accept
begin routers
begin transports
""",
        encoding="ascii",
    )
    with running([program, "-C", str(config), "-bdf", "-oX", f"127.0.0.1.{port}"], [port], path / "output"):
        yield port


@contextlib.contextmanager
def leafnode(path: Path) -> Iterator[int]:
    """Leafnode behind a small inetd; it wants a unique host name and its own files, so it gets a namespace."""
    program = require("leafnode", "leafnode")
    unshare = require("unshare", "util-linux")
    name = "news.wspcfg-probe.net"
    hosts, config, script = path / "hosts", path / "config", path / "run.sh"
    hosts.write_text(f"127.0.0.1 {name} news\n127.0.0.1 localhost\n", encoding="ascii")
    config.write_text(f"server = news.example.com\nexpire = 20\nhostname = {name}\n", encoding="ascii")
    script.write_text(
        f"set -e\nmount --bind {hosts} /etc/hosts\nmount --bind {config} /etc/news/leafnode/config\n"
        f"hostname {name}\nexec {program}\n",
        encoding="ascii",
    )
    command = [unshare, "--uts", "--mount", "sh", str(script)]
    tried = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, timeout=STARTUP_SECONDS, check=False)
    if not is_real_root() or not tried.stdout.startswith(b"20"):
        pytest.skip(f"NOT TESTED: leafnode runs for root with namespaces only ({tried.stderr[-200:]!r})")
    with inetd(command) as port:
        yield port


@contextlib.contextmanager
def inetd(command: Sequence[str]) -> Iterator[int]:
    """Run a command for every connection, with the connection as its standard input and output."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            subprocess.run(command, stdin=self.request, stdout=self.request, stderr=subprocess.DEVNULL, check=False)

    with serving(Handler) as port:
        yield port


@contextlib.contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Serve a free port with a handler, a thread for every connection."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def openssl_server(path: Path, *arguments: str, greeting: bytes = b"", bits: int = 2048) -> Iterator[int]:
    """``openssl s_server``; it greets whoever finishes a handshake."""
    program = require("openssl", "openssl")
    chain, key = certificate(path, bits=bits)
    port = free_port()
    command = [program, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(chain), "-key", str(key)]
    with running([*command, *arguments], [port], path / "output", after=b"CIPHER is", feed=greeting):
        yield port
