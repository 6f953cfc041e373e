#!/usr/bin/env python3
"""The looking glass with half a million routes: a real BIRD takes them from ten neighbours (small BGP speakers in
this program), `civicnet run glass` follows it, and every question goes through its REST API.

Usage: bench/glass.py [--routes N] [--json FILE]
Needs Debian's bird2 and the built binary (CIVICNET_BIN)."""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

NEIGHBOURS = 10
SHARED = 6  # routes with the same attributes, as in tables of the Internet
RS_ASN = 64500
BASE = "127.78.0."


def attribute(flags, kind, body):
    if len(body) > 255:
        return struct.pack("!BBH", flags | 0x10, kind, len(body)) + body
    return struct.pack("!BBB", flags, kind, len(body)) + body


def update(asn, hop, group, prefixes):
    path = [asn, 3356 + group % 97, 10000 + group % 60000]
    attributes = attribute(0x40, 1, b"\0")
    attributes += attribute(0x40, 2, struct.pack("!BB", 2, len(path)) + b"".join(struct.pack("!I", a) for a in path))
    attributes += attribute(0x40, 3, socket.inet_aton(hop))
    attributes += attribute(0xC0, 8, struct.pack("!HHHH", RS_ASN, group % 500, 0, group % 1000))
    routes = b"".join(struct.pack("!B", 24) + struct.pack("!I", p)[:3] for p in prefixes)
    body = struct.pack("!H", 0) + struct.pack("!H", len(attributes)) + attributes + routes
    return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), 2) + body


def keepalive():
    return b"\xff" * 16 + struct.pack("!HB", 19, 4)


class Speaker(threading.Thread):
    """Announces its share of the routes and stays."""

    def __init__(self, number, routes, port):
        super().__init__(daemon=True)
        self.number, self.routes, self.port = number, routes, port
        self.asn, self.address = 64600 + number, f"{BASE}{10 + number}"
        self.more = []
        self.socket = None

    def run(self):
        end = time.monotonic() + 30
        while True:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((self.address, 0))
            try:
                s.connect((f"{BASE}1", self.port))
                capabilities = bytes([65, 4]) + struct.pack("!I", self.asn) + bytes([1, 4, 0, 1, 0, 1])
                options = bytes([2, len(capabilities)]) + capabilities
                body = struct.pack("!BHH4sB", 4, 23456 if self.asn > 65535 else self.asn, 240, socket.inet_aton(self.address), len(options)) + options
                s.sendall(b"\xff" * 16 + struct.pack("!HB", 19 + len(body), 1) + body)
                self.read(s)
                s.sendall(keepalive())
                break
            except OSError:
                s.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        self.socket = s
        threading.Thread(target=self.drain, daemon=True).start()
        out = bytearray()
        share = range(self.number, self.routes, NEIGHBOURS)
        for at in range(0, len(share), SHARED):
            # Two neighbours announce each prefix, so that there is something to choose.
            some = [0x01000000 + (n // 2) * 256 for n in share[at : at + SHARED]]
            out += update(self.asn, self.address, share[at] // SHARED, some)
            if len(out) > 1 << 16:
                s.sendall(out)
                out.clear()
        s.sendall(out)
        while True:
            time.sleep(20)
            s.sendall(keepalive())

    @staticmethod
    def read(s):
        head = b""
        while len(head) < 19:
            head += s.recv(19 - len(head))
        left = struct.unpack("!H", head[16:18])[0] - 19
        while left:
            left -= len(s.recv(left))

    def drain(self):
        while self.socket.recv(1 << 16):
            pass


def config(port):
    sessions = "".join(
        f"""protocol bgp r{n} {{
  local {BASE}1 port {port} as {RS_ASN}; neighbor {BASE}{10 + n} as {64600 + n};
  multihop; passive; strict bind on; rs client; hold time 240;
  ipv4 {{ import table on; import keep filtered on; import filter incoming; export none; }};
}}
"""
        for n in range(NEIGHBOURS)
    )
    return f"""router id 192.0.2.1;
timeformat route iso long; timeformat base iso long; timeformat protocol iso long;
protocol device {{}}
filter incoming {{
  if (0, 10) ~ bgp_community || (0, 60) ~ bgp_community then {{ bgp_large_community.add(({RS_ASN}, 1101, 9)); reject; }}
  bgp_large_community.add(({RS_ASN}, 1000, 2));
  accept;
}}
{sessions}"""


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--routes", type=int, default=500_000)
    parser.add_argument("--json")
    asked = parser.parse_args()
    binary = os.environ.get("CIVICNET_BIN") or os.path.expanduser("~/.cache/civicnet/target/release/civicnet")
    bird = shutil.which("bird", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not bird:
        sys.exit("bench/glass.py: there is no bird: install Debian's package bird2")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    processes = []
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        try:
            with socket.socket() as probe:
                probe.bind((f"{BASE}1", 0))
                port = probe.getsockname()[1]
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                http = probe.getsockname()[1]
            (directory / "bird.conf").write_text(config(port))
            control = directory / "bird.ctl"
            daemon = subprocess.Popen([bird, "-f", "-c", directory / "bird.conf", "-s", control], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            processes.append(daemon)
            roas = [{"asn": f"AS{10000 + n % 60000}", "prefix": f"{1 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24", "maxLength": 24, "ta": "b"} for n in range(0, asked.routes // 2, 2)]
            (directory / "vrps.json").write_text(json.dumps({"roas": roas}))
            begun = time.monotonic()
            speakers = [Speaker(n, asked.routes, port) for n in range(NEIGHBOURS)]
            for speaker in speakers:
                speaker.start()

            def ask(path):
                started = time.perf_counter()
                with opener.open(f"http://127.0.0.1:{http}{path}", timeout=120) as answer:
                    body = answer.read()
                return time.perf_counter() - started, json.loads(body)

            def birdc(command):
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(str(control))
                    s.recv(4096)
                    s.sendall(command.encode() + b"\n")
                    text = b""
                    while b"\n0" not in text and not text.startswith(b"0"):
                        text += s.recv(65536)
                    return text.decode()

            while True:
                text = birdc("show route count")
                total = sum(int(word) for line in text.splitlines() if "routes for" in line and "master4" in line for word in line.split(" of ")[-1].split()[:1])
                filtered = sum(int(p.split()[0]) for line in birdc("show protocols all").splitlines() if "Routes:" in line for p in line.split("Routes:")[1].split(",") if "filtered" in p)
                if total + filtered >= asked.routes * 0.999:
                    break
                if time.monotonic() - begun > 300:
                    sys.exit(f"bench/glass.py: BIRD has {total} routes of {asked.routes} ({filtered} refused)")
                time.sleep(0.5)
            print(f"BIRD holds {total + filtered} routes of {NEIGHBOURS} neighbours after {time.monotonic() - begun:.1f} s, {resident(daemon.pid) >> 20} MiB")

            begun = time.monotonic()
            glass = subprocess.Popen(
                [binary, "run", "glass", "--bird", control, "--asn", str(RS_ASN), "--vrps", directory / "vrps.json", "--listen", f"127.0.0.1:{http}", "--every", "1"],
                stdout=subprocess.DEVNULL,
                stderr=open(directory / "log", "w"),
            )
            processes.append(glass)
            while True:
                try:
                    _, told = ask("/glass/status")
                    if told["routes"] >= asked.routes * 0.999:
                        break
                except OSError:
                    pass
                if time.monotonic() - begun > 300:
                    sys.exit("bench/glass.py: the glass does not fill\n" + (directory / "log").read_text())
                time.sleep(0.1)
            figures["fill_s"] = time.monotonic() - begun
            figures["tables_mib"] = told["memory_bytes"] / (1 << 20)
            figures["resident_mib"] = resident(glass.pid) / (1 << 20)
            print(f"glass is filled after {figures['fill_s']:.1f} s: {told['routes']} routes, {told['prefixes']} prefixes, {told['attributes']} different attributes")
            print(f"memory: tables {figures['tables_mib']:.0f} MiB, process {figures['resident_mib']:.0f} MiB ({figures['resident_mib'] * 1024 * 1024 / asked.routes:.0f} bytes a route; birdwatcher is reported to take 8 GB for 800,000, 10,700 bytes a route)")

            questions = [
                ("first page", "/glass/search", 0.1),
                ("exact prefix", "/glass/search?prefix=1.0.5.0/24", 0.05),
                ("longest match", "/glass/search?prefix=1.0.5.7&matching=longest", 0.05),
                ("inside a /16", "/glass/search?prefix=1.3.0.0/16&matching=inside", 0.05),
                ("origin AS", "/glass/search?origin=10010", 0.05),
                ("AS in the path", "/glass/search?through=3360", 0.05),
                ("community", "/glass/search?community=64500:10", 0.05),
                ("first page of a session", "/glass/search?session=r3", 0.1),
                ("page 400 of a session", "/glass/search?session=r3&offset=40000", 0.1),
                ("first page of refused", "/glass/search?state=filtered", 0.1),
                ("sessions", "/protocols/bgp", 0.1),
            ]
            good = True
            for name, path, limit in questions:
                times = []
                for _ in range(30):
                    took, answer = ask(path)
                    times.append(took)
                times.sort()
                median, worst = statistics.median(times), times[-2]
                figures[name] = median * 1000
                verdict = "ok" if median < limit else "TOO SLOW"
                good &= median < limit
                print(f"{name:26} {answer.get('total', len(answer.get('protocols', [])))!s:>8} found  median {median * 1000:7.2f} ms  second worst {worst * 1000:7.2f} ms  (limit {limit * 1000:.0f} ms) {verdict}")

            # A new route, and one that is refused: how long until the glass shows it.
            shown = []
            for n in range(10):
                group = 700_010 if n % 2 else 700_100  # 10 modulo 1000: refused
                prefix = 0xCB000000 + n * 256
                started = time.perf_counter()
                speakers[n % NEIGHBOURS].socket.sendall(update(64600 + n, f"{BASE}{10 + n}", group, [prefix]))
                while True:
                    _, answer = ask(f"/glass/search?prefix=203.0.{n}.0/24")
                    if answer["total"]:
                        break
                    if time.perf_counter() - started > 60:
                        sys.exit("bench/glass.py: a new route is not shown")
                    time.sleep(0.02)
                shown.append(time.perf_counter() - started)
            shown.sort()
            figures["shown_s"] = statistics.median(shown)
            print(f"a new route is shown after {statistics.median(shown):.2f} s (median of 10, worst {shown[-1]:.2f} s)")
            figures["resident_after_mib"] = resident(glass.pid) / (1 << 20)
            print(f"process with {len(told['moments'])} to {len(ask('/glass/status')[1]['moments'])} earlier moments: {figures['resident_after_mib']:.0f} MiB")
        finally:
            for process in processes:
                process.kill()
                process.wait()
    if asked.json:
        pathlib.Path(asked.json).write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
