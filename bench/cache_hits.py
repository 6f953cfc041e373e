"""Cache hits over HTTP/1.1 keep-alive: nginx (tuned), Varnish and a civicnet edge, side by side.

    python3 bench/cache_hits.py [--rounds 3] [--seconds 5] [--sizes 1k,16k,1m] [--only collapse]

Method: each server runs alone on core 0 in front of the same nginx origin, wrk with 64
connections on core 1. Rounds are interleaved, so that what else happens on the machine meets
all servers alike. The figure is requests per second of the server's own CPU time (user and
system, from /proc, all its processes), because on loopback the client shares the machine. The
median of the rounds counts. As root, all run with the congestion control that Debian comes with
(cubic), and the machine's own is put back at the end: under bbr a 1 MiB answer costs every server
more than twice the time, spent on pacing between two processes of one machine. The edge writes access
events and obeys Vary, conditionals and limits as always. nginx and Varnish run twice: as they are
fastest, without any log, and keeping one as the edge does (nginx `access_log` with a buffer,
Varnish's `varnishncsa`, whose CPU time counts).

Then 200 users ask at once for one cold object of 1 MiB that its origin sends over a second.
Needs the Debian packages nginx-light, varnish, wrk. Writes var/bench/http.json.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CONGESTION = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = os.environ.get("CIVICNET_BIN", "")
SIZES = {"1k": 1 << 10, "16k": 16 << 10, "1m": 1 << 20}
CONNECTIONS = 64
NGINX, VARNISH = {"1k": 1.2, "16k": 1.2, "1m": 1.0}, {"1k": 3.0, "16k": 3.0, "1m": 3.0}
TARGETS = {"nginx": NGINX, "varnish": VARNISH, "nginx+log": NGINX, "varnish+log": VARNISH}
TICK = os.sysconf("SC_CLK_TCK")
USERS = 200


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name, package):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        sys.exit(f"bench: {name} is not installed: apt-get install {package}")
    return found


def children(pid):
    """The process and all that it started."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        found.append(parent)
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as listing:
                    queue += [int(child) for child in listing.read().split()]
        except OSError:
            continue
    return found


def cpu_seconds(pid):
    """User and system time of a process and its children."""
    total = 0
    for process in children(pid):
        try:
            with open(f"/proc/{process}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return total / TICK


class Server:
    def __init__(self, name, port, command, log, core=0):
        self.name, self.port, self.core = name, port, core
        self.companions = []
        self.log = open(log, "ab")
        pinned = ["taskset", "-c", str(core)] + command
        self.process = subprocess.Popen(pinned, stdout=self.log, stderr=self.log, start_new_session=True)
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"bench: {name} did not start: see {log}\n{pathlib.Path(log).read_text()[-2000:]}")
                time.sleep(0.05)

    def beside(self, command):
        """A program that belongs to the server: on its core, its time counted."""
        pinned = ["taskset", "-c", str(self.core)] + command
        self.companions.append(subprocess.Popen(pinned, stdout=self.log, stderr=self.log, start_new_session=True))

    def cpu_seconds(self):
        return sum(cpu_seconds(process.pid) for process in [self.process, *self.companions])

    def check(self):
        for process in self.companions:
            if process.poll() is not None:
                sys.exit(f"bench: what runs beside {self.name} ended by itself; see {self.log.name}")

    def stop(self):
        for process in [*self.companions, self.process]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self.log.close()


def nginx(work, name, port, http, core=0, log="off"):
    conf = work / f"{name}.conf"
    conf.write_text(
        f"""daemon off; pid {work}/{name}.pid; error_log {work}/{name}.err;
worker_processes 1; worker_rlimit_nofile 8192; {"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 4096; }}
http {{
  access_log {log}; default_type application/octet-stream;
  client_body_temp_path {work}/{name}-body; proxy_temp_path {work}/{name}-temp;
  fastcgi_temp_path {work}/{name}-f; uwsgi_temp_path {work}/{name}-u; scgi_temp_path {work}/{name}-s;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 120; keepalive_requests 1000000000;
  open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s;
  {http}
}}
"""
    )
    command = [program("nginx", "nginx-light"), "-p", str(work), "-c", str(conf)]
    return Server(name, port, command, work / f"{name}.log", core)


def origin(work):
    files = work / "files"
    files.mkdir()
    for name, size in SIZES.items():
        (files / name).write_bytes(os.urandom(size))
    port = free_port()
    http = f"""server {{ listen 127.0.0.1:{port}; root {files};
    add_header Cache-Control "public, max-age=86400"; add_header Vary Accept-Encoding; }}"""
    return nginx(work, "origin", port, http, core=1)


def nginx_logged(work, upstream):
    return nginx_cache(work, upstream, log=f"{work}/nginx-access.log combined buffer=64k flush=1s")


def nginx_cache(work, upstream, lock=False, log="off"):
    port, name = free_port(), "nginx-lock" if lock else "nginx" if log == "off" else "nginx+log"
    extra = "proxy_cache_lock on; proxy_cache_lock_timeout 30s; proxy_cache_lock_age 30s;" if lock else ""
    http = f"""proxy_cache_path {work}/{name}-cache levels=1:2 keys_zone=c:50m max_size=2g inactive=1d use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 16; }}
  server {{ listen 127.0.0.1:{port} reuseport backlog=4096; location / {{
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache c; {extra} }} }}"""
    return nginx(work, name, port, http, log=log)


def varnish(work, upstream, name="varnish"):
    port = free_port()
    command = [program("varnishd", "varnish"), "-F", "-j", "none", "-n", str(work / name), "-a", f"127.0.0.1:{port}"]
    command += ["-b", f"127.0.0.1:{upstream}", "-s", "malloc,512m", "-p", "thread_pools=1"]
    return Server(name, port, command, work / f"{name}.log")


def varnish_logged(work, upstream):
    server = varnish(work, upstream, "varnish+log")
    server.beside([program("varnishncsa", "varnish"), "-n", str(work / server.name), "-w", str(work / "varnish-access.log")])
    return server


def civicnet(work, upstream):
    if not os.access(BIN, os.X_OK):
        sys.exit(f"bench: CIVICNET_BIN={BIN!r} is not the built binary; run it by `make bench`")
    port = free_port()
    command = [BIN, "run", "edge", "--origin", f"http://127.0.0.1:{upstream}"]
    command += ["--listen", f"127.0.0.1:{port}", "--cache-dir", str(work / "civicnet-cache")]
    return Server("civicnet", port, command, work / "civicnet.log")


def milliseconds(text):
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]


def measure(server, size, seconds):
    url = f"http://127.0.0.1:{server.port}/{size}"
    server.check()
    before = server.cpu_seconds()
    wrk = ["taskset", "-c", "1", program("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    text = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
    cpu = server.cpu_seconds() - before
    server.check()
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"bench: {server.name} did not answer everything with 200:\n{text}")
    return {
        "per_cpu_second": requests / max(cpu, 1 / TICK),
        "per_second": float(re.search(r"Requests/sec:\s+([0-9.]+)", text).group(1)),
        "p99_ms": milliseconds(re.search(r"^\s+99%\s+(\S+)$", text, re.MULTILINE).group(1)),
    }


def warm(server, size):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), 10) as stream:
            stream.sendall(f"GET /{size} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
            received = 0
            while piece := stream.recv(1 << 20):
                received += len(piece)
        if received < SIZES[size]:
            sys.exit(f"bench: {server.name} sent {received} octets of /{size}")


def hits(work, args):
    base = origin(work)
    servers, rounds = [], {}
    try:
        # One by one: what has started is stopped even if the next does not start.
        for make in (nginx_cache, varnish, nginx_logged, varnish_logged, civicnet):
            servers.append(make(work, base.port))
        for size in args.sizes:
            for server in servers:
                warm(server, size)
            for turn in range(args.rounds):
                for server in servers:
                    figures = measure(server, size, args.seconds)
                    rounds.setdefault(size, {}).setdefault(server.name, []).append(figures)
                    print(f"  {size:>4} round {turn + 1} {server.name:<11} {figures['per_cpu_second']:>10,.0f} /CPU-s  p99 {figures['p99_ms']:.2f} ms", file=sys.stderr)
    finally:
        for server in [*servers, base]:
            server.stop()
    return rounds


@contextlib.contextmanager
def debian_congestion():
    """Debian's congestion control while the servers run; what was set before, afterwards."""
    before = CONGESTION.read_text().strip()
    if before == "cubic" or os.geteuid() != 0:
        print(f"congestion control: {before}")
        yield
        return
    CONGESTION.write_text("cubic")
    print(f"congestion control: cubic while this runs ({before} before and after)")
    try:
        yield
    finally:
        CONGESTION.write_text(before)


def report(rounds):
    result, met = {}, {}
    print(f"{'cache hits':<12}{'civicnet':>12}" + "".join(f"{peer:>20}" for peer in TARGETS) + "   p99 ms (civicnet, " + ", ".join(TARGETS) + ")")
    for size, servers in rounds.items():
        median = {
            name: {key: statistics.median(r[key] for r in runs) for key in runs[0]} for name, runs in servers.items()
        }
        figure = {name: m["per_cpu_second"] for name, m in median.items()}
        ratio = {peer: figure["civicnet"] / figure[peer] for peer in TARGETS}
        met = {peer: met.get(peer, True) and ratio[peer] >= TARGETS[peer][size] for peer in TARGETS}
        p99 = "  ".join(f"{median[name]['p99_ms']:.2f}" for name in ("civicnet", *TARGETS))
        beside = "".join(f"{figure[peer]:>11,.0f} ({ratio[peer]:.2f} ×)" for peer in TARGETS)
        print(f"{size:<12}{figure['civicnet']:>12,.0f}{beside}   {p99}")
        result[size] = {"median": median, "ratio": ratio, "rounds": servers}
    print("requests per server CPU-second; goals: × nginx 1.2, 1.2, 1.0; × Varnish 3")
    print("  " + "; ".join(f"{peer}: {'met' if good else 'NOT met'}" for peer, good in met.items()))
    return result


# ---------------------------------------------------------------- one cold object


async def slow_origin(counts):
    async def answer(reader, writer):
        try:
            while line := await reader.readline():
                target = line.split()[1].decode()
                while (await reader.readline()).strip():
                    pass
                counts[target] = counts.get(target, 0) + 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\nCache-Control: max-age=600\r\n\r\n")
                for _ in range(16):
                    writer.write(b"x" * 65536)
                    await writer.drain()
                    await asyncio.sleep(1 / 16)
        except (ConnectionError, IndexError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    return server, server.sockets[0].getsockname()[1]


async def user(port, target, began):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    first, received = None, 0
    while piece := await reader.read(1 << 18):
        first = first or time.monotonic() - began
        received += len(piece)
    writer.close()
    return first or float("inf"), received


async def collapse_one(work, make):
    counts = {}
    server, port = await slow_origin(counts)
    async with server:
        cache = await asyncio.to_thread(make, work, port)
        try:
            began = time.monotonic()
            users = await asyncio.gather(*(user(cache.port, "/cold", began) for _ in range(USERS)))
            took = time.monotonic() - began
        finally:
            cache.stop()
    first = sorted(first for first, _ in users)
    return {
        "fetches": counts.get("/cold", 0),
        "first_byte_s": {"median": first[USERS // 2], "last": first[-1]},
        "whole": sum(received == 1 << 20 for _, received in users),
        "took_s": took,
    }


def collapse(work):
    makers = {
        "civicnet": civicnet,
        "nginx": nginx_cache,
        "nginx lock": lambda where, port: nginx_cache(where, port, lock=True),
        "varnish": varnish,
    }
    result = {}
    print(f"\n{USERS} users of one cold object of 1 MiB that its origin sends over 1 s")
    for name, make in makers.items():
        where = work / f"collapse-{name.replace(' ', '-')}"
        where.mkdir()
        found = result[name] = asyncio.run(collapse_one(where, make))
        print(
            f"  {name:<11}{found['fetches']:>4} fetches   first byte: median {found['first_byte_s']['median']:.2f} s, "
            f"last {found['first_byte_s']['last']:.2f} s   {found['whole']} whole"
        )
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--sizes", type=lambda text: text.split(","), default=list(SIZES))
    parser.add_argument("--only", choices=["hits", "collapse"])
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="civicnet-bench-"))
    result = {}
    try:
        if args.only != "collapse":
            with debian_congestion():
                result["hits"] = report(hits(work, args))
        if args.only != "hits":
            result["collapse"] = collapse(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    out = ROOT / "var" / "bench" / "http.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
