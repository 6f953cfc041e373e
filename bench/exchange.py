"""Route servers at scale, beside arouteserver's rendering and beside BIRD with no filters at all.

    python3 bench/exchange.py [--members 100] [--prefixes 10000] [--routes 100000] [--part render,converge,filters]

Method. *render*: 100 members, each with an AS set of its own and 10,000 registered prefixes; civicnet renders from an
RPSL file of all objects, arouteserver (PyPI, 1.27) the same members with the same policy, its bgpq4 answering from
prepared files; then `bird -p` of both results. *converge*: two route servers with civicnet's configuration (prefix and
AS sets, 50,000 ROAs, actions, reasons kept) in network namespaces; a BIRD for each member, with an address of its own
and a session with each route server; time until both have taken everything, and until every member has been
told everything of the others. *filters*: 100,000 routes of one member through one route server to three others, civicnet's
configuration, arouteserver's (its log and its tracing of every route taken out; it has no ROAs, which it would ask of a cache) and
accept-all in turn, three rounds, medians. Needs root (namespaces). Writes var/bench/exchange.json.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = os.environ.get("CIVICNET_BIN", "")
BIRD = shutil.which("bird", path=os.environ["PATH"] + ":/usr/sbin")
BIRDC = shutil.which("birdc", path=os.environ["PATH"] + ":/usr/sbin")
VENV = pathlib.Path(os.environ.get("CIVICNET_CACHE", pathlib.Path.home() / ".cache/civicnet")) / "bench-arouteserver"
PACKAGES = ["arouteserver==1.27.0"]
FIRST_ASN, RS_ASN = 20000, 64500
ROAS = 50_000
NAME = f"cxb{os.getpid()}"


def measured(command, **options):
    """Seconds, processor seconds and peak memory in MiB of a program that must succeed."""
    begun = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench: {' '.join(map(str, command))}: {said[-3000:]}")
    return {"seconds": round(time.monotonic() - begun, 2), "cpu": round(used.ru_utime + used.ru_stime, 2), "mib": used.ru_maxrss // 1024}


def run(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def prefixes(member, count):
    """Prefixes that are no bogons, none of which can be joined with its neighbour: every second /24 from 2.0.0.0."""
    for number in range(member * count, (member + 1) * count):
        value = (2 << 16) + number * 2
        first = value >> 16
        # 10/8, 100.64/10 and 127/8 are private.
        value += 0 if first < 10 else (1 << 16) if first < 98 else (4 << 16)
        yield f"{value >> 16}.{value >> 8 & 255}.{value & 255}.0/24"


def address(member):
    return f"198.200.{1 + member // 200}.{1 + member % 200}"


def document(work, members, sites=2):
    lines = ['name = "Bench"', "[policy]", f"asn = {RS_ASN}", "never_via_route_server = [174, 701, 1299, 3356]", "bfd = { interval_ms = 300, multiplier = 3 }", "peer_across_sites = true",
             '[policy.max_prefix]', "v4 = 1000000", "[policy.irr]", 'sources = ["BENCH"]', "[policy.rpki]", f"roas = {json.dumps([]) if not ROAS else 'ROAS'}"]
    picked = random.Random(1)
    space = [prefix for member in range(members.count) for prefix in prefixes(member, members.prefixes)]
    chosen = sorted(picked.sample(range(len(space)), min(ROAS, len(space) // 2)))
    roas = ", ".join(f'{{ prefix = "{space[one]}", max_length = 24, asn = {FIRST_ASN + one // members.prefixes} }}' for one in chosen)
    lines[-1] = f"roas = [{roas}]"
    for site in range(1, sites + 1):
        lines += ["[[sites]]", f'name = "rs{site}"', f'router_id = "198.200.0.{site}"', 'lan_v4 = "198.200.0.0/16"', f'address_v4 = "198.200.0.{site}"']
    for member in range(members.count):
        asn = FIRST_ASN + member
        lines += ["[[members]]", f"asn = {asn}", f'name = "Member {member}"', f'as_set = "AS-M{member}"', "bfd = false",
                  f'routers = [{{ name = "b1", site = "rs1", v4 = "{address(member)}" }}]']
    (work / "members.toml").write_text("\n".join(lines) + "\n")
    with open(work / "bench.rpsl", "w") as out:
        for member in range(members.count):
            asn = FIRST_ASN + member
            out.write(f"as-set: AS-M{member}\nmembers: AS{asn}\nsource: BENCH\n\n")
            for prefix in prefixes(member, members.prefixes):
                out.write(f"route: {prefix}\norigin: AS{asn}\nsource: BENCH\n\n")


def render(work, site):
    out = work / site
    figures = measured([BIN, "exchange", "render", "--members", work / "members.toml", "--site", site, "--irr-file", work / "bench.rpsl", "--out", out])
    return out / "bird.conf", figures


def arouteserver(work, members):
    """The same members for arouteserver; a program in place of bgpq4 answers at once from files."""
    if not (VENV / "bin/arouteserver").exists():
        run(sys.executable, "-m", "venv", VENV)
        run(VENV / "bin/pip", "install", "-q", *PACKAGES)
    home = work / "arouteserver"
    for name in ("answers", "cache"):
        (home / name).mkdir(parents=True)
    for member in range(members.count):
        asn = FIRST_ASN + member
        (home / f"answers/AS-M{member}-asns").write_text(json.dumps({"asn_list": [asn]}))
        listed = [{"prefix": prefix, "exact": True} for prefix in prefixes(member, members.prefixes)]
        (home / f"answers/AS-M{member}-prefixes").write_text(json.dumps({"prefix_list": listed}))
    program = home / "bgpq4"
    # It also asks for the member's own AS as an object, whose prefixes are those of the set; an empty answer is as good.
    program.write_text(f"""#!/bin/sh
for last; do :; done
case "$*" in *asn_list*) exec cat {home}/answers/$last-asns;; esac
[ -e {home}/answers/$last-prefixes ] || exec echo '{{"prefix_list": []}}'
exec cat {home}/answers/$last-prefixes
""")
    program.chmod(0o755)
    packaged = next((VENV / "lib").glob("python3*/site-packages/pierky/arouteserver"))
    shutil.copy(packaged / "config.d/bogons.yml", home)
    shutil.copy(packaged / "config.d/log.ini", home)
    (home / "arouteserver.yml").write_text(
        f'cfg_dir: "{home}"\nlogging_config_file: "{home}/log.ini"\ncfg_general: "general.yml"\ncfg_clients: "clients.yml"\ncfg_bogons: "bogons.yml"\n'
        f'templates_dir: "{packaged}/templates"\ncache_dir: "{home}/cache"\nbgpq3_path: "{program}"\nbgpq3_host: "localhost"\nbgpq3_sources: "BENCH"\n')
    (home / "general.yml").write_text(f"""cfg:
  rs_as: {RS_ASN}
  router_id: "198.200.0.1"
  passive: False
  filtering:
    next_hop:
      policy: "strict"
    ipv4_pref_len: {{ min: 8, max: 24 }}
    max_as_path_len: 64
    reject_invalid_as_in_as_path: True
    transit_free: {{ asns: "174, 701, 1299, 3356", action: "reject" }}
    never_via_route_servers: {{ peering_db: False }}
    irrdb: {{ enforce_origin_in_as_set: True, enforce_prefix_in_as_set: True, peering_db: False }}
    max_prefix: {{ peering_db: {{ enabled: False }}, general_limit_ipv4: 1000000, action: "restart" }}
    reject_policy: {{ policy: "tag" }}
  blackhole_filtering: {{ policy_ipv4: "rewrite-next-hop", rewrite_next_hop_ipv4: "198.200.0.66", client_community: {{ peering_db: False }} }}
  graceful_shutdown: {{ enabled: True }}
  communities:
    reject_cause: {{ lrg: "{RS_ASN}:1101:dyn_val" }}
    do_not_announce_to_any: {{ lrg: "{RS_ASN}:0:0" }}
    do_not_announce_to_peer: {{ lrg: "{RS_ASN}:0:peer_as" }}
    announce_to_peer: {{ lrg: "{RS_ASN}:1:peer_as" }}
    prepend_once_to_peer: {{ lrg: "{RS_ASN}:101:peer_as" }}
    prefix_present_in_as_set: {{ lrg: "{RS_ASN}:1001:1" }}
""")
    clients = ["asns:"]
    for member in range(members.count):
        clients += [f"  AS{FIRST_ASN + member}:", f'    as_sets: ["AS-M{member}"]']
    clients.append("clients:")
    for member in range(members.count):
        clients += [f"  - asn: {FIRST_ASN + member}", f'    ip: "{address(member)}"']
    (home / "clients.yml").write_text("\n".join(clients) + "\n")
    out = home / "bird.conf"
    figures = measured([VENV / "bin/arouteserver", "bird", "--cfg", home / "arouteserver.yml", "--ip-ver", "4", "--target-version", "2.0.11", "-o", out])
    return out, figures


def part_render(work, members):
    figures = {}
    for name, make in (("civicnet", lambda: render(work, "rs1")), ("arouteserver", lambda: arouteserver(work, members))):
        conf, figures[name] = make()
        figures[name]["bytes"] = conf.stat().st_size
        figures[name]["bird_p"] = measured([BIRD, "-p", "-c", conf])
        one = figures[name]
        print(f"render: {name}: {one['seconds']} s, {one['mib']} MiB; {one['bytes'] / 1e6:.1f} MB; bird -p {one['bird_p']['seconds']} s, {one['bird_p']['mib']} MiB", flush=True)
    print(f"render: civicnet is {figures['arouteserver']['seconds'] / figures['civicnet']['seconds']:.1f} times as fast", flush=True)
    return figures


class Daemon:
    """A BIRD in a namespace."""

    def __init__(self, work, name, netns, conf):
        self.dir, self.conf = work / f"run-{name}", conf
        self.dir.mkdir(exist_ok=True)
        self.socket = self.dir / "bird.ctl"
        self.process = subprocess.Popen(["ip", "netns", "exec", netns, BIRD, "-f", "-c", conf, "-s", self.socket, "-P", self.dir / "pid"], stderr=open(self.dir / "log", "ab"))
        until = time.monotonic() + 120
        while not (self.socket.exists() and self.ask("show status")):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"bench: {name}: {(self.dir / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def ask(self, command):
        try:
            done = subprocess.run([BIRDC, "-s", str(self.socket), command], capture_output=True, text=True, timeout=600)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def mib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text()).group(1)) // 1024

    def received(self):
        """Prefixes received in updates, over a member's sessions."""
        return sum(int(n) for n in re.findall(r"Import updates: +(\d+)", self.ask('show protocols all "rs*"')))

    def taken(self):
        """Routes taken over a route server's sessions."""
        return sum(int(n) for n in re.findall(r"Routes: +(\d+) imported", self.ask('show protocols all "as*"')))

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def networks(count, servers):
    """A LAN; gives the namespaces of the route servers and of the members (no router takes a next hop that is its own)."""
    hub = f"{NAME}-hub"
    ends = {f"{NAME}-s{server}": f"198.200.0.{server}" for server in range(1, servers + 1)} | {f"{NAME}-m{member}": address(member) for member in range(count)}
    try:
        for name in (hub, *ends):
            run("ip", "netns", "add", name)
        run("ip", "-n", hub, "link", "add", "lan", "type", "bridge")
        run("ip", "-n", hub, "link", "set", "lan", "up")
        for number, (name, own) in enumerate(ends.items()):
            run("ip", "link", "add", f"p{number}", "netns", hub, "type", "veth", "peer", "name", "lan", "netns", name)
            run("ip", "-n", hub, "link", "set", f"p{number}", "master", "lan", "up")
            run("ip", "-n", name, "address", "add", own + "/16", "dev", "lan")
            run("ip", "-n", name, "link", "set", "lan", "up")
        yield list(ends)[:servers], list(ends)[servers:]
    finally:
        for name in (*ends, hub):
            for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Players:
    """A BIRD for each member. The first `senders` announce."""

    def __init__(self, work, namespaces, members, servers, senders):
        self.all = []
        for member in range(members.count):
            own = ""
            if member < senders:
                routes = work / f"routes{member}.conf"
                with open(routes, "w") as out:
                    for prefix in prefixes(member, members.prefixes):
                        out.write(f"route {prefix} blackhole;\n")
                own = f'protocol static own {{ ipv4;\ninclude "{routes}";\n}}'
            lines = [f"router id {address(member)};", "protocol device { }", own]
            for server in range(1, servers + 1):
                lines.append(f"protocol bgp rs{server} {{ disabled; local {address(member)} as {FIRST_ASN + member}; neighbor 198.200.0.{server} as {RS_ASN}; strict bind on;"
                             " connect delay time 1; connect retry time 1; error wait time 1, 2; hold time 240;"
                             " ipv4 { import filter { reject; }; export where source = RTS_STATIC; next hop self; }; }")
            conf = work / f"member{member}.conf"
            conf.write_text("\n".join(lines) + "\n")
            self.all.append(Daemon(work, f"member{member}", namespaces[member], conf))

    def enable(self, members):
        for member in members:
            self.all[member].ask("enable all")

    def up(self):
        return sum(player.ask("show protocols").count("Established") for player in self.all)

    def received(self):
        return sum(player.received() for player in self.all)

    def stop(self):
        for player in self.all:
            player.stop()


def until(what, condition, seconds, every=0.2, daemon=None):
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            sys.exit(f"bench: {what}: not within {seconds} s\n{daemon.ask('show protocols')[:3000] if daemon else ''}")
        time.sleep(every)
    return time.monotonic() - begun


def part_converge(work, members):
    figures = {}
    with networks(members.count, 2) as (hosts, homes), contextlib.ExitStack() as stack:
        confs = [render(work, f"rs{server}")[0] for server in (1, 2)]
        empty = work / "empty.conf"
        # The daemon runs already when the configuration comes, as in life.
        empty.write_text("router id 198.200.0.1;\nprotocol device { }\n")
        for server in (1, 2):
            shutil.copy(empty, work / f"running{server}.conf")
        servers = [Daemon(work, f"rs{server}", hosts[server - 1], work / f"running{server}.conf") for server in (1, 2)]
        players = Players(work, homes, members, 2, members.count)
        for daemon in (*servers, players):
            stack.callback(daemon.stop)
        begun = time.monotonic()
        applied = [measured([BIN, "exchange", "apply", "--members", work / "members.toml", "--site", f"rs{server}", "--irr-file", work / "bench.rpsl",
                             "--socket", daemon.socket, "--config", work / f"running{server}.conf", "--watch", "60"]) for server, daemon in enumerate(servers, 1)]
        figures["apply"] = {"seconds_each": [one["seconds"] for one in applied], "mib": max(one["mib"] for one in applied)}
        figures["route_server_idle_mib"] = servers[0].mib()
        print(f"converge: render, check and apply {figures['apply']['seconds_each']} s (3 s of them watching); route server with its filters and ROAs {servers[0].mib()} MiB", flush=True)
        routes = members.count * members.prefixes
        begun, cpu = time.monotonic(), [server.cpu() for server in servers]
        players.enable(range(members.count))
        until("every route taken", lambda: all(server.taken() >= routes for server in servers), members.patience, 1)
        figures["taken"] = {"routes_each": routes, "seconds": round(time.monotonic() - begun, 1)}
        print(f"converge: both route servers took {routes} routes after {figures['taken']['seconds']} s", flush=True)
        told = 2 * routes * (members.count - 1)
        until("every route told", lambda: players.received() >= told, members.patience, 2)
        figures["told"] = {"announcements": told, "seconds": round(time.monotonic() - begun, 1)}
        figures["route_server_cpu"] = [round(server.cpu() - before, 1) for server, before in zip(servers, cpu)]
        figures["route_server_mib"] = [server.mib() for server in servers]
        print(f"converge: every member heard all others from both ({told} announcements) after {figures['told']['seconds']} s; "
              f"route servers: {figures['route_server_cpu']} s of processor time, {figures['route_server_mib']} MiB", flush=True)
    return figures


ACCEPT_ALL = """router id 198.200.0.1;
protocol device {{ }}
ipv4 table master4 sorted;
{sessions}
"""


def part_filters(work, args):
    """One member's routes to three others."""
    members = argparse.Namespace(count=4, prefixes=args.routes, patience=args.patience)
    work = work / "filters"
    work.mkdir()
    document(work, members, sites=1)
    filtered, _ = render(work, "rs1")
    plain = work / "plain.conf"
    plain.write_text(ACCEPT_ALL.format(sessions="\n".join(
        f"protocol bgp m{member} {{ local 198.200.0.1 as {RS_ASN}; neighbor {address(member)} as {FIRST_ASN + member}; rs client; strict bind on; connect delay time 1;"
        " ipv4 { import all; export all; }; }" for member in range(4))))
    traced = arouteserver(work, members)[0].read_text()
    other = work / "arouteserver.conf"
    other.write_text(re.sub(r"(?m)^(log|debug protocols) .*$", "", traced))
    confs = {"filters": filtered, "arouteserver": other, "accept-all": plain}
    rounds = {name: [] for name in confs}
    with networks(4, 1) as (hosts, homes):
        for _ in range(3):
            for name, conf in confs.items():
                server = Daemon(work, f"rs-{name}", hosts[0], conf)
                players = Players(work, homes, members, 1, 1)
                try:
                    players.enable([1, 2, 3])
                    until("sessions", lambda: players.up() == 3, 60, daemon=server)
                    cpu = server.cpu()
                    players.enable([0])
                    until("the session", lambda: "Established" in players.all[0].ask("show protocols"), 60, 0.002)
                    seconds = until("every route", lambda: players.received() >= 3 * args.routes, args.patience, 0.02)
                    rounds[name].append({"seconds": seconds, "cpu": server.cpu() - cpu, "mib": server.mib()})
                finally:
                    server.stop()
                    players.stop()
    figures = {name: {key: round(statistics.median(one[key] for one in all), 2) for key in ("seconds", "cpu", "mib")} for name, all in rounds.items()}
    def beside(name):
        one = figures[name]
        return {key: round(figures["filters"][key] / one[key], 2) for key in ("seconds", "cpu", "mib")} if all(one.values()) else {}
    ratio = {name: beside(name) for name in ("arouteserver", "accept-all")}
    for name, one in figures.items():
        print(f"filters: {args.routes} routes to three members: {name}: {one['seconds']} s ({one['cpu']} s of processor time, {one['mib']} MiB); "
              f"civicnet beside it: {ratio.get(name, 'itself')}", flush=True)
    return figures | {"ratio": ratio}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--prefixes", type=int, default=10_000)
    parser.add_argument("--routes", type=int, default=100_000)
    parser.add_argument("--part", default="render,converge,filters")
    parser.add_argument("--patience", type=float, default=3600)
    args = parser.parse_args()
    if not os.access(BIN, os.X_OK):
        sys.exit(f"bench: CIVICNET_BIN={BIN!r} is not the built binary; run it by `make bench`")
    if not BIRD:
        sys.exit("bench: no bird: install Debian's package bird2")
    if os.geteuid() != 0:
        print("exchange: not run (needs root, for network namespaces)")
        return
    members = argparse.Namespace(count=args.members, prefixes=args.prefixes, patience=args.patience)
    figures = {"members": args.members, "prefixes": args.prefixes}
    with tempfile.TemporaryDirectory(prefix="civicnet-bench-") as work:
        work = pathlib.Path(work)
        if "render" in args.part or "converge" in args.part:
            document(work, members)
        for part, do in (("render", lambda: part_render(work, members)), ("converge", lambda: part_converge(work, members)), ("filters", lambda: part_filters(work, args))):
            if part in args.part.split(","):
                figures[part] = do()
    out = ROOT / "var/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "exchange.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
