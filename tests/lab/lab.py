"""A lab of network namespaces: sites' peering LANs, route servers, members' routers, all of them real BIRDs.

Needs root, iproute2 and Debian's bird2. Everything is made below a name that holds our process id, and
removed at the end.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "crates/exchange/tests/golden"
BIRD = shutil.which("bird", path=os.environ.get("PATH", "") + ":/usr/sbin")
BIRDC = shutil.which("birdc", path=os.environ.get("PATH", "") + ":/usr/sbin")


def run(*command, check=True, timeout=60):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done


def civicnet(*arguments, **options):
    return run(os.environ["CIVICNET_BIN"], "exchange", *arguments, **options)


def wait(what, condition, seconds=20.0, every=0.05):
    """The first true value of `condition`, and how long it took."""
    began = time.monotonic()
    while True:
        value = condition()
        took = time.monotonic() - began
        if value:
            return value, took
        if took > seconds:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(every)


class Router:
    """A BIRD in a namespace of its own."""

    def __init__(self, lab, name):
        self.lab, self.name, self.process = lab, name, None
        self.netns = lab.namespace(name)
        self.dir = lab.dir / name
        self.dir.mkdir()
        self.socket, self.conf = self.dir / "bird.ctl", self.dir / "bird.conf"

    def run(self, *command, **options):
        return run("ip", "netns", "exec", self.netns, *command, **options)

    def start(self, text=None):
        if text is not None:
            self.conf.write_text(text)
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, BIRD, "-f", "-c", self.conf, "-s", self.socket, "-P", self.dir / "pid"],
            stdout=log, stderr=log)
        wait(f"{self.name} answers", lambda: self.socket.exists() and self.ask("show status", check=False))

    def ask(self, command, check=True):
        done = run(BIRDC, "-s", self.socket, command, check=False)
        if done.returncode != 0 and check:
            raise AssertionError(f"{self.name}: {command}: {done.stdout}{done.stderr}\n{(self.dir / 'log').read_text()[-2000:]}")
        return done.stdout if done.returncode == 0 else ""

    def established(self):
        return set(re.findall(r"^(\S+) +BGP .*Established", self.ask("show protocols"), re.M))

    def route(self, prefix, what=""):
        """The text of `show route` with all attributes; empty when there is none."""
        said = self.ask(f"show route {what} {prefix} all", check=False)
        return said if re.search(r"^" + re.escape(prefix), said, re.M) else ""

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Lab:
    """Sites, LANs and routers of a members' document."""

    def __init__(self, document=GOLDEN / "lab.toml"):
        for program, package in ((BIRD, "bird2"), (shutil.which("ip"), "iproute2"), (shutil.which("ping"), "iputils-ping")):
            assert program, f"install Debian's package {package}"
        self.dir = Path(tempfile.mkdtemp(prefix="civicnet-lab-"))
        self.prefix = f"cx{os.getpid()}"
        self.namespaces, self.routers, self.ports, self.others = [], {}, {}, []
        self.document_file = self.dir / "lab.toml"
        shutil.copy(document, self.document_file)
        self.document = tomllib.loads(self.document_file.read_text())
        for site in self.document["sites"]:
            self.lan(site["name"])

    def lan(self, name):
        """A switch."""
        netns = self.namespace("lan-" + name)
        run("ip", "-n", netns, "link", "add", "lan", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        run("ip", "-n", netns, "link", "set", "lan", "up")

    def trunk(self, one, other):
        """Two switches joined at layer 2."""
        ends = [(f"{self.prefix}-lan-{a}", f"t-{b}"[:15]) for a, b in ((one, other), (other, one))]
        run("ip", "link", "add", ends[0][1], "netns", ends[0][0], "type", "veth", "peer", "name", ends[1][1], "netns", ends[1][0])
        for netns, device in ends:
            run("ip", "-n", netns, "link", "set", device, "master", "lan", "up")

    def cut_site(self, site, cut=True):
        """The site's switch stops (or works again); every cable stays in."""
        run("ip", "-n", f"{self.prefix}-lan-{site}", "link", "set", "lan", "down" if cut else "up")

    def start(self, name, netns, *command):
        """Another program in a namespace, ended with the lab."""
        log = open(self.dir / f"{name}.log", "ab")
        process = subprocess.Popen(["ip", "netns", "exec", netns, *map(str, command)], stdout=log, stderr=log)
        self.others.append(process)
        return process

    def namespace(self, name):
        netns = f"{self.prefix}-{name}"
        run("ip", "netns", "add", netns)
        self.namespaces.append(netns)
        run("ip", "-n", netns, "link", "set", "lo", "up")
        run("ip", "netns", "exec", netns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.accept_dad=0",
            "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0")
        return netns

    def router(self, name):
        self.routers[name] = Router(self, name)
        return self.routers[name]

    def plug(self, router, site, *addresses):
        """A port of the site's LAN for `router`."""
        lan = f"{self.prefix}-lan-{site}"
        port = f"p{len(self.ports)}"
        run("ip", "link", "add", port, "netns", lan, "type", "veth", "peer", "name", f"x-{site}"[:15], "netns", router.netns)
        run("ip", "-n", lan, "link", "set", port, "master", "lan", "up")
        device = f"x-{site}"[:15]
        for address in addresses:
            run("ip", "-n", router.netns, "address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        run("ip", "-n", router.netns, "link", "set", device, "up")
        self.ports[router.name, site] = (lan, port)

    def cut(self, router, site, cut=True):
        """Frames stop (or pass again) while both ends still see a link: only a protocol can notice."""
        lan, port = self.ports[router.name, site]
        run("bridge", "-n", lan, "link", "set", "dev", port, "state", "0" if cut else "3")

    def render(self, site, out):
        return civicnet("render", "--members", self.document_file, "--site", site, "--irr-file", GOLDEN / "lab.rpsl", "--out", out)

    def route_server(self, name):
        site = next(site for site in self.document["sites"] if site["name"] == name)
        router = self.router("rs-" + name)
        self.plug(router, name, *(site[key] + length for key, length in (("address_v4", "/24"), ("address_v6", "/64")) if key in site))
        self.render(name, router.dir)
        router.start()
        return router

    def address(self, asn, site):
        member = next(member for member in self.document["members"] if member["asn"] == asn)
        return next(router["v4"] for router in member["routers"] if router["site"] == site)

    def member(self, name, asn, sites, routes="", kernel=False, password=None, prefer=()):
        """A member's router with sessions to the route servers of `sites`. It announces `routes` as they
        are: the path is written out, as a hostile router would."""
        router = self.router(name)
        text = [f"router id {self.address(asn, sites[0])};", "protocol device { scan time 1; }",
                'protocol bfd { interface "*" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }',
                f"protocol static own {{ ipv4; {routes} }}"]
        if kernel:
            text.append("protocol direct { ipv4; interface \"x-*\"; }")
            text.append("protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; scan time 5; }")
        for order, site in enumerate(sites):
            own = self.address(asn, site)
            server = next(entry["address_v4"] for entry in self.document["sites"] if entry["name"] == site)
            self.plug(router, site, own + "/24")
            secret = f'password "{password}";' if password else ""
            text.append(f"""protocol bgp rs_{site} {{
  local {own} as {asn}; neighbor {server} as 64500; rs client; bfd on; connect retry time 1; error wait time 1, 2; connect delay time 1; {secret}
  ipv4 {{ import filter {{ bgp_local_pref = {200 - order * 10}; accept; }}; export where source = RTS_STATIC; next hop keep; }};
}}""")
        router.start("\n".join(text))
        return router

    def close(self):
        for process in self.others:
            if process.poll() is None:
                process.terminate()
        for process in self.others:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for router in self.routers.values():
            router.stop()
        for netns in self.namespaces:
            for pid in run("ip", "netns", "pids", netns, check=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", netns, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
