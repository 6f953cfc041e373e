"""A running node is replaced by a successor: no connection is refused or cut, no answer is lost."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time

import dns.message
import dns.query
import dns.rcode
import pytest
import requests
from alone import Origin, Process, free_port
from country import BIN, wait_for

ZONE = """$ORIGIN reload.example.
@ 60 IN SOA ns hostmaster 1 60 60 60 60
@ 60 IN NS ns
ns 60 IN A 192.0.2.53
www 60 IN A 192.0.2.1
"""


class Load:
    """Clients that ask without pause, each in its own way, and write down what fails."""

    def __init__(self):
        self.answers = 0
        self.failures = []
        self.stopping = threading.Event()
        self.threads = []
        self.lock = threading.Lock()

    def run(self, name, ask):
        def work():
            while not self.stopping.is_set():
                try:
                    ask()
                    with self.lock:
                        self.answers += 1
                except Exception as error:  # noqa: BLE001: whatever it is, it failed
                    with self.lock:
                        self.failures.append(f"{name}: {error!r}")

        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"


class KeptConnection:
    """HTTP/1.1 over one connection, opened again only when the server says that it closes. Unlike most
    clients it does not try again: a connection closed without a word is a failure."""

    def __init__(self, port, path, content):
        self.port, self.path, self.content, self.stream = port, path, content, None

    def ask(self):
        if self.stream is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=15)
            self.stream = self.socket.makefile("rb")
        self.socket.sendall(f"GET {self.path} HTTP/1.1\r\nHost: reload.example\r\n\r\n".encode())
        status = self.stream.readline()
        assert status.startswith(b"HTTP/1.1 200 "), status
        headers = {}
        while (line := self.stream.readline().strip()):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.stream.read(int(headers["content-length"]))
        assert body == self.content, f"{len(body)} bytes"
        if headers.get("connection", "").lower() == "close":
            self.stream.close()
            self.socket.close()
            self.stream = None
        time.sleep(0.002)


def pid_in(file):
    return int(file.read_text())


def alive(pid):
    with contextlib.suppress(FileNotFoundError):
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


def reload(pid_file):
    before = pid_in(pid_file)
    done = subprocess.run([BIN, "reload", "--pid-file", str(pid_file)], capture_output=True, text=True, timeout=140)
    assert done.returncode == 0, done.stderr
    assert pid_in(pid_file) != before
    return before


@pytest.fixture
def edge(tmp_path):
    content = {"/small": b"s" * 900, "/big": os.urandom(2_000_000), "/long": os.urandom(24_000_000)}

    def answer(method, path, headers, body):
        name = path.partition("?")[0]
        if name in content:
            return 200, {"Cache-Control": "max-age=300"}, content[name]
        return 200, {"Cache-Control": "no-store"}, b"fresh"

    origin = Origin(answer)
    port, pid_file = free_port(), tmp_path / "pid"
    arguments = ["run", "edge", "--origin", origin.url, "--listen", f"127.0.0.1:{port}", "--cache-dir", str(tmp_path / "cache"),
                 "--pid-file", str(pid_file)]
    process = Process(arguments, tmp_path / "log", port).start()
    wait_for(pid_file.exists, 10, "the pid file")
    process.origin, process.pid_file, process.content = origin, pid_file, content
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid_in(pid_file), signal.SIGTERM)
    wait_for(lambda: not alive(pid_in(pid_file)), 30, "the end")
    process.process.wait(30)
    origin.close()


def test_an_edge_under_load_is_replaced_three_times_and_nothing_fails(edge):
    load = Load()
    for at in range(4):
        load.run(f"kept {at}", KeptConnection(edge.port, "/small", edge.content["/small"]).ask)
    load.run("kept big", KeptConnection(edge.port, "/big", edge.content["/big"]).ask)
    load.run("kept origin", KeptConnection(edge.port, "/never-stored", b"fresh").ask)
    serial = iter(range(10**9))

    def new_connection():
        answer = requests.get(f"http://127.0.0.1:{edge.port}/small?{next(serial)}", timeout=15)
        assert answer.status_code == 200 and answer.content == edge.content["/small"], answer.status_code

    load.run("new", new_connection)
    old = []
    for _ in range(3):
        seen = load.answers
        wait_for(lambda: load.answers > seen + 200, 20, "answers between two reloads")
        old.append(reload(edge.pid_file))
    seen = load.answers
    wait_for(lambda: load.answers > seen + 200, 20, "answers after the reloads")
    load.stop()
    assert load.failures == []
    # The first was started by this process, which has to take note of its end.
    edge.process.wait(30)
    wait_for(lambda: not any(alive(pid) for pid in old[1:]), 30, "the end of those who handed over")
    # The cache outlived all of it: nothing was fetched again.
    assert edge.origin.count("/small") == 1
    assert edge.origin.count("/big") == 1


def test_a_long_answer_goes_on_from_the_old_process(edge):
    requests.get(f"http://127.0.0.1:{edge.port}/long", timeout=20)
    with socket.socket() as client:
        # More than the kernel's buffers hold: the process itself has an answer to end.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", edge.port))
        client.sendall(b"GET /long HTTP/1.1\r\nHost: reload.example\r\nConnection: close\r\n\r\n")
        first = client.recv(1000)
        old = reload(edge.pid_file)
        assert alive(old), "it has an answer to end"
        rest = bytearray(first)
        while piece := client.recv(65_536):
            rest += piece
    assert bytes(rest).endswith(edge.content["/long"])


def test_a_successor_that_cannot_start_changes_nothing(edge, tmp_path):
    # The cache directory becomes one that nobody can open.
    objects = tmp_path / "cache" / "objects"
    lock = objects / "lock"
    before = pid_in(edge.pid_file)
    lock.unlink()
    lock.mkdir()
    os.kill(before, signal.SIGUSR2)
    wait_for(lambda: "did not take over" in edge.log.read_text(errors="replace"), 30, "the failure")
    assert pid_in(edge.pid_file) == before
    assert requests.get(f"http://127.0.0.1:{edge.port}/small", timeout=10).status_code == 200
    # It tries again by itself, since it has no directories meanwhile.
    lock.rmdir()
    wait_for(lambda: pid_in(edge.pid_file) != before, 60, "the next try")
    assert requests.get(f"http://127.0.0.1:{edge.port}/small", timeout=10).status_code == 200


def test_a_dns_server_under_load_is_replaced_and_no_question_stays_unanswered(tmp_path):
    zone, pid_file, port = tmp_path / "reload.example.zone", tmp_path / "pid", free_port(socket.SOCK_DGRAM)
    zone.write_text(ZONE)
    arguments = ["run", "dispatch", "--zone", str(zone), "--listen", f"127.0.0.1:{port}", "--pid-file", str(pid_file)]
    process = Process(arguments, tmp_path / "log", port).start()
    wait_for(pid_file.exists, 10, "the pid file")
    try:
        load = Load()

        def ask(by):
            def once():
                answer = by(dns.message.make_query("www.reload.example.", "A"), "127.0.0.1", port=port, timeout=5)
                assert answer.rcode() == dns.rcode.NOERROR and answer.answer
                time.sleep(0.002)
            return once

        load.run("udp", ask(dns.query.udp))
        load.run("udp too", ask(dns.query.udp))
        load.run("tcp", ask(dns.query.tcp))
        for _ in range(3):
            seen = load.answers
            wait_for(lambda: load.answers > seen + 200, 20, "answers between two reloads")
            reload(pid_file)
        # A new program reads the zone as it is.
        zone.write_text(ZONE.replace("192.0.2.1", "192.0.2.2"))
        reload(pid_file)
        load.stop()
        assert load.failures == []
        answer = dns.query.udp(dns.message.make_query("www.reload.example.", "A"), "127.0.0.1", port=port, timeout=5)
        assert "192.0.2.2" in answer.answer[0].to_text()
    finally:
        os.kill(pid_in(pid_file), signal.SIGTERM)
        wait_for(lambda: not alive(pid_in(pid_file)), 30, "the end")
        process.process.wait(30)


def test_the_sandbox_keeps_nodes_through_their_reload(country):
    for name in ["edge-taipei", "dispatch", "control"]:
        node = country.dir / "nodes" / name
        if not node.exists():
            node = next((country.dir / "nodes").glob("edge-*"))
        config = country.dir / "control.toml" if name == "control" else node / "node.toml"
        before = pid_in(node / "pid")
        done = subprocess.run([BIN, "reload", "--config", str(config)], capture_output=True, text=True, timeout=140)
        assert done.returncode == 0, done.stderr
        after = pid_in(node / "pid")
        assert after != before
        wait_for(lambda: not alive(before), 90, f"the end of the old {name}")
        # The sandbox neither started another nor lost the one that took over.
        time.sleep(1.5)
        assert pid_in(node / "pid") == after and alive(after)
    wait_for(lambda: requests.get(country.at("metrics"), timeout=5).status_code == 200, 30, "the metrics")
    # A node that is killed after its reload is started again.
    node = country.dir / "nodes" / "dispatch"
    before = pid_in(node / "pid")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: pid_in(node / "pid") != before and alive(pid_in(node / "pid")), 30, "the restart")


def test_a_reload_with_a_bad_file_is_refused_where_somebody_looks(tmp_path):
    bad = tmp_path / "node.toml"
    bad.write_text("[edge]\nmemory_mib = 1\n")
    done = subprocess.run([BIN, "reload", "--config", str(bad)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "memory_mib" in done.stderr


def test_a_trace_goes_through_the_edge_to_the_origin(tmp_path):
    spans = []

    def collect(method, path, headers, body):
        spans.append(body)
        return 200, {"Content-Type": "application/x-protobuf"}, b""

    collector, origin = Origin(collect), Origin(lambda *_: (200, {"Cache-Control": "max-age=60"}, b"x"))
    port = free_port()
    process = Process(["run", "edge", "--origin", origin.url, "--listen", f"127.0.0.1:{port}"], tmp_path / "log", port)
    traced = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces", "OTEL_TRACES_SAMPLER_ARG": "1"}
    os.environ.update(traced)
    try:
        process.start()
    finally:
        for name in traced:
            del os.environ[name]
    trace = "0af7651916cd43dd8448eb211c80319c"
    begun = f"00-{trace}-b7ad6b7169203331-01"
    assert requests.get(f"http://127.0.0.1:{port}/traced", headers={"traceparent": begun}, timeout=10).status_code == 200
    passed_on = {name.lower(): value for name, value in origin.requests[0][2].items()}["traceparent"]
    version, same, span, flags = passed_on.split("-")
    assert (version, same, flags) == ("00", trace, "01")
    assert span != "b7ad6b7169203331", "the edge's own span"
    process.stop()
    sent = b"".join(spans)
    assert b"edge request" in sent and bytes.fromhex(trace) in sent and bytes.fromhex(span) in sent
    collector.close()
    origin.close()
