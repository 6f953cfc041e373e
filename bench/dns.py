#!/usr/bin/env python3
"""Dispatch DNS beside Knot DNS, NSD and gdnsd: answers by second of the server's CPU time.

Every server runs alone on core 0 with one thread, the client on core 1; rounds go round all servers, so that
a change of the machine's mood meets each of them; medians are compared. Three cases:

  plain        1,000 names, one A record each, no EDNS      civicnet, knot, nsd, gdnsd
  clients      the same, asked from 4,096 addresses     civicnet, knot, nsd, gdnsd
  geographic   1,000 names, answers by Client Subnet        civicnet, gdnsd (4,096 networks of /24, three sites)

Needs Debian's knot, nsd, gdnsd, and civicnet-bench. Usage: bench/dns.py [--seconds 5] [--rounds 3] [--json FILE]
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = 1000
SUBNETS = 4096
TARGETS = [("plain", "knot", 1.6), ("plain", "nsd", 1.6), ("clients", "knot", 1.6), ("clients", "nsd", 1.6), ("geographic", "gdnsd", 1.1)]
SITES = [("hsinchu", "192.0.2.1", 24.80, 120.97), ("taichung", "192.0.2.2", 24.15, 120.67),
         ("tainan", "192.0.2.3", 22.99, 120.21)]
HEAD = "$ORIGIN bench.example.\n$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A 192.0.2.53\n"


def find(name, package):
    for directory in os.environ.get("PATH", "").split(":") + ["/usr/sbin", "/sbin"]:
        path = Path(directory) / name
        if path.exists():
            return str(path)
    sys.exit(f"bench/dns.py: {name} is missing: install Debian's package {package}")


def bench_tool():
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/civicnet/target"))
    tool = target / "release" / "civicnet-bench"
    if not tool.exists():
        sys.exit(f"bench/dns.py: {tool} is missing: cargo build --release --bin civicnet-bench")
    return str(tool)


def free_port():
    """A port that is free for UDP and TCP, below those that the kernel gives to clients."""
    for port in random.sample(range(10_000, 30_000), 100):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue
    sys.exit("bench/dns.py: no free port between 10000 and 30000")


def zone_text(record):
    return HEAD + "".join(f"host{n} 300 {record(n)}\n" for n in range(NAMES))


def plain_zone():
    return zone_text(lambda n: f"A 198.51.{n // 250}.{n % 250 + 1}")


def nets():
    """Each client network with the number of its nearest site."""
    return [(f"10.{n >> 8}.{n & 255}.0/24", n * 7 % 3) for n in range(SUBNETS)]


def write_knot(directory, port):
    (directory / "zone").write_text(plain_zone())
    (directory / "conf").write_text(f"""server:
  rundir: "{directory}"
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
log:
  - target: stderr
    any: error
database:
  storage: "{directory}"
zone:
  - domain: bench.example.
    storage: "{directory}"
    file: zone
    zonefile-sync: -1
    journal-content: none
""")
    return [find("knotd", "knot"), "-c", str(directory / "conf")]


def write_nsd(directory, port):
    (directory / "zone").write_text(plain_zone())
    (directory / "conf").write_text(f"""server:
  ip-address: 127.0.0.1@{port}
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/pid"
  xfrdfile: "{directory}/xfrd"
  xfrdir: "{directory}"
  zonelistfile: "{directory}/zones"
  server-count: 1
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: bench.example.
  zonefile: zone
""")
    return [find("nsd", "nsd"), "-d", "-c", str(directory / "conf")]


def write_gdnsd(directory, port, geographic):
    (directory / "zones").mkdir()
    (directory / "run").mkdir()
    (directory / "state").mkdir()
    record = (lambda n: "DYNA geoip!www") if geographic else (lambda n: f"A 198.51.{n // 250}.{n % 250 + 1}")
    (directory / "zones" / "bench.example").write_text(zone_text(record).replace("$ORIGIN bench.example.\n", ""))
    plugins = ""
    if geographic:
        order = lambda first: ", ".join(SITES[(first + step) % 3][0] for step in range(3))
        entries = "\n".join(f"        {net} => [ {order(site)} ]" for net, site in nets())
        names = ", ".join(site[0] for site in SITES)
        addresses = "\n".join(f"        {site[0]} => {site[1]}" for site in SITES)
        plugins = f"""plugins => {{ geoip => {{
  maps => {{ m => {{
      datacenters => [ {names} ]
      nets => {{
{entries}
      }}
  }} }}
  resources => {{ www => {{ map => m, service_types => up, dcmap => {{
{addresses}
  }} }} }}
}} }}
"""
    (directory / "config").write_text(
        f"options => {{ listen => [ 127.0.0.1:{port} ], udp_threads => 1, tcp_threads => 1, "
        f"run_dir => {directory}/run, state_dir => {directory}/state }}\n{plugins}")
    return [find("gdnsd", "gdnsd"), "-c", str(directory), "start"]


def write_civicnet(directory, port, geographic):
    tool = bench_tool()
    binary = os.environ.get("CIVICNET_BIN", "")
    if not geographic:
        (directory / "bench.example.zone").write_text(plain_zone())
        if Path(binary).is_file():
            # One thread, as its peers have: it takes as many as it sees cores, and is pinned to one.
            return [binary, "run", "dispatch", "--zone", str(directory / "bench.example.zone"),
                    "--listen", f"127.0.0.1:{port}"]
        return [tool, "dns-serve", "--zone", str(directory / "bench.example.zone"),
                "--listen", f"127.0.0.1:{port}", "--threads", "1"]
    regions = [{"name": name, "prefixes": [net for net, site in nets() if site == number],
                "at": {"latitude": latitude, "longitude": longitude}, "prefer": []}
               for number, (name, _, latitude, longitude) in enumerate(SITES)]
    edges = [{"node": name, "addresses": [address], "at": {"latitude": latitude, "longitude": longitude},
              "weight": 1, "capacity_rps": 1000, "drained": False, "health_address": "127.0.0.1:9"}
             for name, address, latitude, longitude in SITES]
    names = [{"name": f"host{n}.bench.example.", "ttl_s": 300, "edges": [], "answers_max": 1,
              "all_down": "as-if-healthy"} for n in range(NAMES)]
    snapshot = {"zones": [{"origin": "bench.example.", "text": HEAD}], "names": names, "edges": edges,
                "regions": regions, "health": {
                    "interval_ms": 300, "timeout_ms": 250, "fall": 2, "rise": 2, "opinion_ttl_ms": 1500,
                    "report_to": [], "report_key": [0] * 32}}
    (directory / "snapshot.json").write_text(json.dumps(snapshot))
    return [tool, "dns-serve", "--snapshot", str(directory / "snapshot.json"),
            "--listen", f"127.0.0.1:{port}", "--threads", "1"]


def ask(port, host, subnet=None):
    """One question; the address in the answer, or None."""
    packet = struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 1 if subnet else 0)
    for label in host.strip(".").split("."):
        packet += bytes([len(label)]) + label.encode()
    packet += b"\0\0\1\0\1"
    if subnet:
        packet += b"\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\0" + socket.inet_aton(subnet)[:3]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        client.sendto(packet, ("127.0.0.1", port))
        try:
            answer = client.recv(4096)
        except OSError:
            return None
    question_end = packet.index(b"\0\0\1\0\1", 12) + 5
    if struct.unpack(">H", answer[6:8])[0] == 0:
        return None
    return socket.inet_ntoa(answer[question_end + 12:question_end + 16])


def family(pid):
    """A process and its descendants."""
    all_of = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, ValueError):
                continue
            if parent == pid:
                all_of += family(int(entry.name))
    return all_of


def cpu_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class Server:
    def __init__(self, case, name, write):
        self.case, self.name, self.write = case, name, write
        self.rounds = []

    def start(self):
        self.directory = Path(tempfile.mkdtemp(prefix=f"bench-dns-{self.name}-"))
        self.port = free_port()
        log = open(self.directory / "log", "wb")
        command = ["taskset", "-c", "0"] + self.write(self.directory, self.port)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        subnet = "10.0.1.0" if self.case == "geographic" else None
        # 10.0.1.0/24 is number 1: 7 mod 3 is site 1.
        expected = SITES[1][1] if subnet else "198.51.1.51"
        deadline = time.monotonic() + 20
        while (answer := ask(self.port, "host300.bench.example", subnet)) != expected:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                sys.exit(f"bench/dns.py: {self.name} ({self.case}) said {answer}, not {expected}: "
                         f"see {self.directory}/log")
            time.sleep(0.05)

    def measure(self, seconds):
        arguments = {"geographic": ["--subnets", str(SUBNETS)], "clients": ["--clients", "4096"]}.get(self.case, [])
        client = ["taskset", "-c", "1", bench_tool(), "dns-load", "--server", f"127.0.0.1:{self.port}",
                  "--names", str(NAMES)] + arguments
        subprocess.run(client + ["--seconds", "0.5"], check=True, stdout=subprocess.DEVNULL)
        # NSD serves from a child: the busiest of the family is the server.
        before = {pid: cpu_of(pid) for pid in family(self.process.pid)}
        subprocess.run(client + ["--seconds", "0.3"], check=True, stdout=subprocess.DEVNULL)
        pid = max(before, key=lambda pid: cpu_of(pid) - before[pid])
        output = subprocess.run(client + ["--seconds", str(seconds), "--pid", str(pid)],
                                check=True, capture_output=True, text=True)
        self.rounds.append(json.loads(output.stdout))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def median(self, key):
        return statistics.median(each[key] for each in self.rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="write everything measured to this file")
    options = parser.parse_args()
    servers = [
        Server("plain", "civicnet", lambda d, p: write_civicnet(d, p, False)),
        Server("plain", "knot", write_knot),
        Server("plain", "nsd", write_nsd),
        Server("plain", "gdnsd", lambda d, p: write_gdnsd(d, p, False)),
        Server("clients", "civicnet", lambda d, p: write_civicnet(d, p, False)),
        Server("clients", "knot", write_knot),
        Server("clients", "nsd", write_nsd),
        Server("clients", "gdnsd", lambda d, p: write_gdnsd(d, p, False)),
        Server("geographic", "civicnet", lambda d, p: write_civicnet(d, p, True)),
        Server("geographic", "gdnsd", lambda d, p: write_gdnsd(d, p, True)),
    ]
    for number in range(options.rounds):
        for server in servers:
            print(f"round {number + 1} of {options.rounds}: {server.case} {server.name}", file=sys.stderr)
            server.start()
            try:
                server.measure(options.seconds)
            finally:
                server.stop()
            shutil.rmtree(server.directory, ignore_errors=True)
    print(f"{'case':<12}{'server':<10}{'answers/CPU-s':>14}{'answers/s':>12}{'p50 µs':>8}{'p99 µs':>8}{'lost':>6}{'wrong':>7}")
    for server in servers:
        print(f"{server.case:<12}{server.name:<10}{server.median('answers_per_cpu_s'):>14,.0f}"
              f"{server.median('answers_per_s'):>12,.0f}{server.median('p50_us'):>8.0f}{server.median('p99_us'):>8.0f}"
              f"{sum(r['lost'] for r in server.rounds):>6}{sum(r['wrong'] for r in server.rounds):>7}")
    of = {(server.case, server.name): server.median("answers_per_cpu_s") for server in servers}
    ratios = []
    for case, peer, target in TARGETS:
        ratio = of[case, "civicnet"] / of[case, peer]
        ratios.append({"case": case, "peer": peer, "ratio": round(ratio, 3), "target": target,
                       "met": ratio >= target})
        print(f"civicnet ÷ {peer} ({case}): {ratio:.2f} (target {target}) {'met' if ratio >= target else 'NOT met'}")
    if options.json:
        rounds = {f"{s.case} {s.name}": s.rounds for s in servers}
        Path(options.json).write_text(json.dumps({"ratios": ratios, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
