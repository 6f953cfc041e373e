"""The whole exchange in network namespaces (`exchange.toml`): three sites joined at layer 2 with a route server each;
TWAREN, TANet, GSN and ASNet with two border routers and a core each; an outside provider, an international exchange
with a network behind it, and a cloud with an on-ramp. Every router is a real BIRD.

                      world (AS11537)          cloud (AS16509)
                     /       |                  |        |
   international exchange    |                  |     on-ramp
      us |       | sg        +--- provider -----+        |
      TWAREN b1  TWAREN b2        (AS3462)           TWAREN b2
         |        |                 | transit to TWAREN b2, GSN b1
     Hsinchu ── Taichung ── Tainan
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from lab import GOLDEN, Lab, Router, run, wait

HERE = Path(__file__).resolve().parent
MANAGEMENT = "10.255.0.10"
RTR, GLASS = 8282, 29180
WORLD, CLOUD = "198.32.8.1", "52.94.0.1"
# What TANet shows to TWAREN only, without the route servers.
PRIVATE, PRIVATE_HOST = "163.28.200.0/24", "163.28.200.1"
HOSTS = {"twaren": "140.110.0.1", "tanet": "163.28.0.1", "gsn": "117.56.0.1", "asnet": "140.109.0.1", "world": WORLD, "cloud": CLOUD}
OWN = {"twaren": ["140.110.0.0/16"], "tanet": ["163.28.0.0/16", PRIVATE], "gsn": ["117.56.0.0/16"], "asnet": ["140.109.0.0/16"],
       "world": ["198.32.8.0/22"], "cloud": ["52.94.0.0/22"]}
BFD = 'protocol device { scan time 1; }\nprotocol bfd { interface "*" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }'
KERNEL = 'protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; scan time 20; }'
TIMERS = "connect retry time 1; error wait time 1, 2; connect delay time 1; startup hold time 10;"

RECEIVE = """
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], int(sys.argv[2]))); s.settimeout(5)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
seen, twice, back, last, gap, highest = set(), 0, 0, None, 0.0, -1
print('ready', flush=True)
while True:
    try: data = s.recv(64)
    except TimeoutError:
        gap = max(gap, 5.0)  # the last word was lost: silent to the end
        break
    now = time.monotonic()
    number, = struct.unpack('!q', data)
    if number < 0: break
    if number in seen: twice += 1
    if number < highest: back += 1
    highest = max(highest, number); seen.add(number)
    if last is not None: gap = max(gap, now - last)
    last = now
print(len(seen), gap * 1000, twice, back)
"""
SEND = """
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0)); s.settimeout(1)
where = (sys.argv[2], int(sys.argv[3])); begin = time.monotonic(); number = 0; refused = 0
import threading
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set():
    try: s.sendto(struct.pack('!q', number), where)
    except OSError: refused += 1
    number += 1
    time.sleep(max(0, begin + number / 500 - time.monotonic()))
time.sleep(0.3)
s.sendto(struct.pack('!q', -1), where)
print(number)
"""


class Flow:
    """Numbered packets, 500 a second, from one network's host to another's."""

    ports = iter(range(9000, 60000))

    def __init__(self, country, sender, receiver):
        port = str(next(self.ports))
        inside = lambda name, *words: ["ip", "netns", "exec", country.core(name).netns, sys.executable, "-c", *words]
        target = PRIVATE_HOST if receiver == "tanet-private" else HOSTS[receiver]
        receiver = receiver.removesuffix("-private")
        self.receiver = subprocess.Popen(inside(receiver, RECEIVE, target, port), stdout=subprocess.PIPE, text=True)
        assert self.receiver.stdout.readline() == "ready\n"
        self.sender = subprocess.Popen(inside(sender, SEND, HOSTS[sender], target, port), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)

    def end(self):
        """Packets sent, lost; the longest silence in milliseconds; those that came twice."""
        sent = int(self.sender.communicate(timeout=20)[0])
        seen, gap, twice, _back = self.receiver.communicate(timeout=20)[0].split()
        return {"sent": sent, "lost": sent - int(seen), "silence_ms": float(gap), "twice": int(twice)}

    def kill(self):
        for process in (self.sender, self.receiver):
            if process.poll() is None:
                process.kill()
                process.wait()


class Country(Lab):
    def __init__(self):
        super().__init__(HERE / "exchange.toml")
        self.numbers = iter(range(1, 250))
        self.extra, self.text, self.owners, self.held = {}, {}, {}, {}

    def build(self):
        self.trunk("hsinchu", "taichung")
        self.trunk("taichung", "tainan")
        for name in ("mgmt", "intl", "transit-t", "transit-g", "upstream-w", "upstream-c", "onramp"):
            self.lan(name)
        self.management = f"{self.prefix}-lan-mgmt"
        run("ip", "-n", self.management, "address", "add", MANAGEMENT + "/24", "dev", "lan")
        self.validator()
        self.servers = {}
        for number, site in enumerate(("hsinchu", "taichung", "tainan")):
            self.servers[site] = self.route_server(site)
        self.networks()
        self.places()
        return self

    # --- the exchange ---

    def route_server(self, name):
        site = next(site for site in self.document["sites"] if site["name"] == name)
        router = self.router("rs-" + name)
        self.plug(router, name, site["address_v4"] + "/24")
        self.plug(router, "mgmt", f"10.255.0.{20 + len(self.routers)}/24")
        self.render(name, router.dir)
        router.start()
        return router

    def render(self, site, out):
        return run(os.environ["CIVICNET_BIN"], "exchange", "render", "--members", self.document_file, "--site", site, *self.irr(), "--out", out)

    def irr(self):
        return ["--irr-file", GOLDEN / "lab.rpsl"]

    def places(self):
        """The file of places for the commands that touch several sites."""
        self.places_file = self.dir / "places.toml"
        text = ""
        for site, router in self.servers.items():
            text += f'[[places]]\nsite = "{site}"\nsocket = "{router.socket}"\nconfig = "{router.conf}"\n'
            text += f'run = ["ip", "netns", "exec", "{router.netns}"]\n\n'
        self.places_file.write_text(text)
        return self.places_file

    def validator(self):
        self.vrps = self.dir / "vrps.json"
        self.roas([("140.110.0.0/16", 24, 7539), ("117.56.128.0/17", 17, 9264)])
        self.start("rpki", self.management, os.environ["CIVICNET_BIN"], "run", "rpki", "--vrps", self.vrps, "--listen", f"{MANAGEMENT}:{RTR}",
                   "--listen-http", f"{MANAGEMENT}:8283", "--notify-interval", "0", "--public")
        wait("the validator", lambda: self.http(8283, "/readyz", check=False) is not None)

    def roas(self, entries):
        text = json.dumps({"roas": [{"prefix": prefix, "maxLength": length, "asn": f"AS{asn}", "ta": "lab"} for prefix, length, asn in entries]})
        partial = self.vrps.with_suffix(".partial")
        partial.write_text(text)
        partial.rename(self.vrps)
        self.entries = entries

    def glass(self, site):
        """Starts a looking glass of the site's route server; gives what asks it."""
        port = GLASS + len(self.others)
        self.start(f"glass-{site}", self.management, os.environ["CIVICNET_BIN"], "run", "glass", "--bird", self.servers[site].socket, "--asn", "64500",
                   "--rtr", f"{MANAGEMENT}:{RTR}", "--listen", f"{MANAGEMENT}:{port}", "--every", "1", "--public")
        ask = lambda path: json.loads(self.http(port, path))
        wait(f"the looking glass of {site}", lambda: self.http(port, "/api/status", check=False) is not None)
        return ask

    def http(self, port, path, check=True):
        done = run("ip", "netns", "exec", self.management, "curl", "-sf", "--max-time", "5", f"http://{MANAGEMENT}:{port}{path}", check=False)
        assert done.returncode == 0 or not check, f"{path}: {done}"
        return done.stdout if done.returncode == 0 else None

    # --- the networks ---

    def link(self, one, other):
        """A cable between two routers that is never cut; gives both addresses."""
        number = next(self.numbers)
        names = [f"i{number}a", f"i{number}b"]
        run("ip", "link", "add", names[0], "netns", one.netns, "type", "veth", "peer", "name", names[1], "netns", other.netns)
        for end, (router, device) in enumerate(zip((one, other), names), 1):
            run("ip", "-n", router.netns, "address", "add", f"10.254.{number}.{end}/30", "dev", device)
            run("ip", "-n", router.netns, "link", "set", device, "up")
        return f"10.254.{number}.1", f"10.254.{number}.2"

    def networks(self):
        for member in self.document["members"]:
            self.network(member)
        self.outside()
        for name, router in self.routers.items():
            if not name.startswith("rs-"):
                router.start("\n".join(self.text[name]))

    def network(self, member):
        name, asn = member["name"].lower(), member["asn"]
        core, b1, b2 = (self.router(f"{name}-{part}") for part in ("core", "b1", "b2"))
        for address in [HOSTS[name]] + [PRIVATE_HOST] * (name == "tanet"):
            run("ip", "-n", core.netns, "address", "add", address + "/32", "dev", "lo")
        to_b1, to_b2, between = self.link(core, b1), self.link(core, b2), self.link(b1, b2)
        own = " ".join(f"route {prefix} unreachable;" for prefix in OWN[name])
        # ASNet switches by hand: its core has no opinion of its own. The others prefer the first site.
        first = 100 if name == "asnet" else 200
        text = [f"router id 10.0.{asn % 250}.3;", BFD, KERNEL, f"protocol static own {{ ipv4; {own} }}"]
        for border, (own_address, peer), preference in (("b1", to_b1, first), ("b2", to_b2, 100)):
            text.append(f"""protocol bgp to_{border} {{ local {own_address} as {asn}; neighbor {peer} as {asn}; direct; {TIMERS}
  ipv4 {{ gateway direct; import filter {{ if bgp_local_pref = 100 then bgp_local_pref = {preference}; accept; }}; export where source = RTS_STATIC; next hop self; }}; }}""")
        self.text[core.name] = text
        for number, (border, (peer, own_address), (near, far)) in enumerate(((b1, to_b1, between), (b2, to_b2, between[::-1])), 1):
            entry = next(entry for entry in member["routers"] if entry["name"] == f"b{number}")
            self.plug(border, entry["site"], entry["v4"] + "/24")
            secret = f'password "{member["password"]}";' if "password" in member else ""
            self.extra[border.name] = border.dir / "extra.conf"
            self.extra[border.name].write_text("")
            text = [f"router id 10.0.{asn % 250}.{number};", BFD, KERNEL,
                    f'protocol static extra {{ ipv4;\ninclude "{self.extra[border.name]}";\n}}',
                    f"function is_private() {{ return net = {PRIVATE}; }}",
                    "function is_own() { if is_private() then return false; if source = RTS_STATIC then return true; return source = RTS_BGP && bgp_path.len = 0; }"]
            for neighbor, left, right in (("core", own_address, peer), ("other", near, far)):
                text.append(f"""protocol bgp to_{neighbor} {{ local {left} as {asn}; neighbor {right} as {asn}; direct; {TIMERS}
  ipv4 {{ gateway direct; import all; export where source = RTS_BGP; next hop self; }}; }}""")
            for site in self.document["sites"]:
                text.append(f"""protocol bgp rs_{site["name"]} {{ local {entry["v4"]} as {asn}; neighbor {site["address_v4"]} as 64500; bfd on; {TIMERS} {secret}
  ipv4 {{ import all; export where is_own(); }}; }}""")
            self.text[border.name] = text

    def peer(self, router, name, own, own_asn, peer, peer_asn, preference, export="is_own()", more=""):
        """A session outside the exchange's route servers, watched by BFD."""
        self.text[router.name].append(f"""protocol bgp {name} {{ local {own} as {own_asn}; neighbor {peer} as {peer_asn}; bfd on; {TIMERS} {more}
  ipv4 {{ import filter {{ bgp_local_pref = {preference}; accept; }}; export where {export}; }}; }}""")

    def outside(self):
        world, cloud, provider, intl = (self.router(name) for name in ("world", "cloud", "provider", "intl-rs"))
        # The route server of the international exchange takes what comes, and is transparent.
        self.text["intl-rs"] = ["router id 198.32.1.1;", BFD, "ipv4 table master4 sorted;"]
        self.plug(intl, "intl", "198.32.1.1/24")
        for router, asn in ((world, 11537), (cloud, 16509), (provider, 3462)):
            own = " ".join(f"route {prefix} unreachable;" for prefix in OWN.get(router.name, []))
            self.text[router.name] = [f"router id 10.9.{asn % 250}.1;", BFD, KERNEL, f"protocol static own {{ ipv4; {own} }}",
                                      "function is_own() { return source = RTS_STATIC; }"]
        for router in (world, cloud):
            run("ip", "-n", router.netns, "address", "add", HOSTS[router.name] + "/32", "dev", "lo")
        twaren = {part: self.routers[f"twaren-{part}"] for part in ("b1", "b2")}
        # Path choice by policy (A12): the link to the United States, then Singapore, then transit.
        for router, address, asn, preference, med in ((world, "198.32.1.50", 11537, 300, 0), (twaren["b1"], "198.32.1.11", 7539, 300, 0), (twaren["b2"], "198.32.1.12", 7539, 250, 50)):
            self.plug(router, "intl", address + "/24")
            name = router.name.replace("-", "_")
            self.text["intl-rs"].append(f"""protocol bgp {name} {{ local 198.32.1.1 as 9505; neighbor {address} as {asn}; rs client; bfd on; {TIMERS}
  ipv4 {{ secondary on; import filter {{ bgp_med = {med}; accept; }}; export where bgp_path.first != {asn}; }}; }}""")
            self.peer(router, "intl", address, asn, "198.32.1.1", 9505, preference)
        # The provider's customers and upstreams.
        for lan, router, asn, preference in (("transit-t", twaren["b2"], 7539, 50), ("transit-g", self.routers["gsn-b1"], 4782, 50),
                                             ("upstream-w", world, 11537, 50), ("upstream-c", cloud, 16509, 50)):
            number = next(self.numbers)
            self.plug(provider, lan, f"10.253.{number}.1/30")
            self.plug(router, lan, f"10.253.{number}.2/30")
            self.peer(router, "transit", f"10.253.{number}.2", asn, f"10.253.{number}.1", 3462, preference)
            self.peer(provider, router.name.replace("-", "_"), f"10.253.{number}.1", 3462, f"10.253.{number}.2", asn, 100, "source = RTS_BGP")
        number = next(self.numbers)
        self.plug(cloud, "onramp", f"10.253.{number}.1/30")
        self.plug(twaren["b2"], "onramp", f"10.253.{number}.2/30")
        self.peer(cloud, "onramp", f"10.253.{number}.1", 16509, f"10.253.{number}.2", 7539, 300)
        self.peer(twaren["b2"], "onramp", f"10.253.{number}.2", 7539, f"10.253.{number}.1", 16509, 300)
        # Bilateral: TWAREN and TANet, one session at each router, for what does not go by route server.
        tanet = {part: self.routers[f"tanet-{part}"] for part in ("b1", "b2")}
        for part, left, right in (("b1", "203.72.1.11", "203.72.1.21"), ("b2", "203.72.1.12", "203.72.1.22")):
            preference = 150 if part == "b1" else 140
            self.peer(twaren[part], "bilateral", left, 7539, right, 1659, preference)
            self.peer(tanet[part], "bilateral", right, 1659, left, 7539, preference, "is_private()")

    def core(self, name):
        return self.routers.get(f"{name}-core") or self.routers[name]

    def pid(self, router):
        """The BIRD itself, not the program that started it."""
        return int((router.dir / "pid").read_text())

    def announce(self, router, *routes):
        """The router announces `routes` besides its own; `(prefix, path before our own number)`."""
        lines = []
        for prefix, path in routes:
            steps = "".join(f"bgp_path.prepend({asn}); " for asn in reversed(path))
            lines.append(f"route {prefix} blackhole {{ {steps}}};" if steps else f"route {prefix} blackhole;")
        self.extra[router.name].write_text("\n".join(lines) + "\n")
        said = router.ask("configure")
        assert "Reconfigur" in said, said

    def cut_port(self, router, lan, cut=True):
        """The switch's port is taken out of its LAN (or put back); the cable stays in."""
        netns, port = self.ports[router.name, lan]
        run("ip", "-n", netns, "link", "set", port, *(["nomaster"] if cut else ["master", "lan"]))

    def way(self, name, target):
        """The routers that a packet to `target` passes, by the forwarding tables themselves."""
        if not self.owners:
            self.held = {router.name: set(re.findall(r"inet (\S+)/", router.run("ip", "-4", "address").stdout)) - {"127.0.0.1"} for router in self.routers.values()}
            self.owners = {address: router for router in self.routers.values() for address in self.held[router.name]}
        at, passed = self.core(name), []
        while target not in self.held[at.name] and len(passed) < 10:
            via = re.search(r"via (\S+)", at.run("ip", "route", "get", target, check=False).stdout)
            hop = via.group(1) if via else None
            if not via or hop not in self.owners:
                return passed + ["nowhere"]
            at = self.owners[hop]
            passed.append(at.name)
        return passed

    def settled(self):
        """Every session of every route server is up and watched, and everybody has the others' routes."""
        wait("route servers' sessions", lambda: all(len(server.established()) == 8 for server in self.servers.values()), 60)
        wait("BFD", lambda: all(server.ask("show bfd sessions").count(" Up ") == 8 for server in self.servers.values()), 60)
        wait("the routes", lambda: all(self.core(a).route(OWN[b][0]) for a in ("twaren", "tanet", "gsn", "asnet") for b in ("twaren", "tanet", "gsn", "asnet") if a != b), 60)
        wait("the way to the world", lambda: self.way("twaren", WORLD)[:1] == ["twaren-b1"] and self.way("twaren", CLOUD) == ["twaren-b2", "cloud"], 60)

    def during(self, flows, event):
        """What becomes of numbered packets between pairs of networks while `event` happens."""
        running = [Flow(self, *pair) for pair in flows]
        try:
            time.sleep(0.5)
            event()
            # A way that is still broken must show itself: what is lost at the end makes no gap between two packets.
            time.sleep(1)
            for flow in running:
                flow.sender.stdin.close()
                flow.sender.stdin = None
            return {pair: flow.end() for pair, flow in zip(flows, running)}
        finally:
            for flow in running:
                flow.kill()
