"""A site is lost: members' packets take the other site."""

import subprocess
import sys

import pytest

from lab import Lab, wait
from test_meaning import announce

RECEIVE = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 9999)); s.settimeout(3)
first, seen, last, gap = None, 0, None, 0.0
print('ready', flush=True)
while True:
    try: data = s.recv(64)
    except TimeoutError: break
    now = time.monotonic()
    if data == b'end': break
    if last is not None: gap = max(gap, now - last)
    last = now; seen += 1
print(seen, gap * 1000)
"""
SEND = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0))
begin = time.monotonic(); count = 0
while time.monotonic() - begin < float(sys.argv[3]):
    s.sendto(b'x', (sys.argv[2], 9999)); count += 1
    time.sleep(max(0, begin + count / 500 - time.monotonic()))
s.sendto(b'end', (sys.argv[2], 9999))
print(count)
"""
A, B = "140.110.0.1", "163.28.0.1"


@pytest.fixture(scope="module")
def lab():
    lab = Lab()
    try:
        lab.servers = [lab.route_server("hsinchu"), lab.route_server("taichung")]
        lab.a = lab.member("twaren", 7539, ["hsinchu", "taichung"], announce("140.110.0.0/16", [7539]), kernel=True)
        lab.b = lab.member("tanet", 1659, ["hsinchu", "taichung"], announce("163.28.0.0/16", [1659]), kernel=True, password="lab-secret")
        for router, address in ((lab.a, A), (lab.b, B)):
            router.run("ip", "address", "add", address + "/32", "dev", "lo")
        wait("sessions", lambda: all(len(server.established()) == 2 for server in lab.servers), 30)
        wait("BFD", lambda: all(server.ask("show bfd sessions").count(" Up ") == 2 for server in lab.servers), 30)
        wait("the way by Hsinchu", lambda: via(lab) == {"x-hsinchu"}, 20)
        yield lab
    finally:
        lab.close()


def via(lab):
    ways = set()
    for router, source, target in ((lab.a, A, B), (lab.b, B, A)):
        said = router.run("ip", "route", "get", target, "from", source, check=False).stdout
        ways.add(said.split(" dev ")[1].split()[0] if " dev " in said else "")
    return ways


def traffic(lab, event, seconds=3.0):
    """Packets sent and received while `event` happens, and the longest silence in milliseconds."""
    receiver = subprocess.Popen(["ip", "netns", "exec", lab.b.netns, sys.executable, "-c", RECEIVE, B], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout.readline() == "ready\n"
    sender = subprocess.Popen(["ip", "netns", "exec", lab.a.netns, sys.executable, "-c", SEND, A, B, str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        wait("traffic", lambda: True)
        sent_before, _ = wait("a second of traffic", lambda: sender.poll() is None, 2)
        event()
        sent = int(sender.communicate(timeout=20)[0])
        seen, gap = receiver.communicate(timeout=20)[0].split()
        return sent, int(seen), float(gap)
    finally:
        for process in (sender, receiver):
            if process.poll() is None:
                process.kill()
                process.wait()


def test_traffic_switches_by_bfd_and_comes_back_without_loss(lab, capsys):
    import time

    def cut():
        time.sleep(1)
        lab.cut(lab.a, "hsinchu")

    sent, seen, gap = traffic(lab, cut)
    with capsys.disabled():
        print(f"\nport cut at the first site: {sent} packets sent, {seen} arrived, longest silence {gap:.0f} ms")
    assert via(lab) == {"x-taichung"}
    assert gap < 300, f"silence of {gap:.0f} ms"

    def back():
        time.sleep(0.5)
        lab.cut(lab.a, "hsinchu", cut=False)
        wait("the way back", lambda: via(lab) == {"x-hsinchu"}, 25)

    sent, seen, gap = traffic(lab, back, seconds=15)
    with capsys.disabled():
        print(f"and back: {sent} packets sent, {seen} arrived, longest silence {gap:.0f} ms")
    assert via(lab) == {"x-hsinchu"}
    assert sent == seen, f"{sent - seen} packets lost on the way back"
