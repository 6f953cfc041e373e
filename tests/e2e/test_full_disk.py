"""Disks that are really full: small file systems of their own, filled to the last byte by somebody else."""

import contextlib
import ctypes
import json
import os
import time

import pytest
import requests
from alone import Origin, Process, free_port
from api import csrf_of, sign_in
from country import Country, wait_for

SITE = "www.library.gov.test"
MIB = 1 << 20
# The edge leaves a gibibyte of its disk to others, so a disk for it has to be larger.
EDGE_DISK = 1_200 * MIB
HOUSE_DISK = 1_400 * MIB

LIBC = ctypes.CDLL(None, use_errno=True)


def mounted(directory, size):
    """Mounts an empty file system of `size` bytes at `directory`; false where this user may not."""
    directory.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=0755".encode()
    return LIBC.mount(b"tmpfs", str(directory).encode(), b"tmpfs", 0, options) == 0


@pytest.fixture
def disk(tmp_path):
    """Makes file systems that are gone after the test."""
    made = []

    def make(size):
        directory = tmp_path / f"disk{len(made)}"
        if not mounted(directory, size):
            reason = os.strerror(ctypes.get_errno())
            pytest.skip(f"not run: file systems can be mounted by root only ({reason})")
        made.append(directory)
        return directory

    yield make
    for directory in made:
        wait_for(lambda d=directory: LIBC.umount2(str(d).encode(), 0) == 0, 20, f"{directory} to be let go of")


@contextlib.contextmanager
def filled(directory):
    """Somebody else fills the file system: not a byte is left until the end."""
    file = directory / "somebody-elses"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    try:
        for size in (64 * MIB, MIB, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
        room = os.statvfs(directory)
        assert room.f_bavail == 0, f"{room.f_bavail} blocks are left"
        yield file
    finally:
        os.close(descriptor)
        file.unlink()


def gauge(url, name):
    """A metric's value."""
    for line in requests.get(url, timeout=5).text.splitlines():
        if line.split("{")[0].split(" ")[0] == name:
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name} at {url}")


# ---------------------------------------------------------------- the edge's cache


def test_an_edge_serves_on_without_its_disk_and_takes_it_up_again(disk, tmp_path):
    directory = disk(EDGE_DISK)
    body = os.urandom(3 * MIB)
    origin = Origin(lambda _method, path, *_: (200, {"Cache-Control": "max-age=600"}, path.encode() + body))
    port = free_port()
    edge = Process(["run", "edge", "--origin", origin.url, "--listen", f"127.0.0.1:{port}", "--cache-dir", str(directory / "cache"),
                    "--memory", "64"], tmp_path / "log", port).start()
    get = lambda path: requests.get(f"http://127.0.0.1:{port}{path}", timeout=20)
    right = lambda path: get(path).content == path.encode() + body
    log = lambda: (tmp_path / "log").read_text()
    on_disk = lambda: sum(f.stat().st_size for f in (directory / "cache").rglob("*") if f.is_file())

    try:
        assert right("/before")
        wait_for(lambda: on_disk() > len(body), 20, "the disk tier")
        with filled(directory):
            for n in range(60):
                assert right(f"/full/{n}"), n
            wait_for(lambda: "cache's disk cannot be written" in log(), 20, "the alarm")
            for n in range(60, 80):
                assert right(f"/full/{n}") and right("/before")
            hits = [get("/full/79").headers["Cache-Status"] for _ in range(3)]
            assert all("; hit" in hit for hit in hits), f"memory serves: {hits}"
            assert edge.process.poll() is None
            assert log().count("cache's disk cannot be written") < 20, "one alarm, not one for each object"
        wait_for(lambda: "cache's disk can be written again" in log(), 30, "the disk's return")
        small = on_disk()
        for n in range(5):
            assert right(f"/after/{n}")
        wait_for(lambda: on_disk() > small + len(body), 20, "new objects on disk")
        # What it wrote around the accident is whole: it starts from it without a word of damage.
        edge.kill()
        edge.start()
        fetched = len(origin.requests)
        assert all(right(f"/after/{n}") for n in range(4)) and right("/before") and right("/full/3")
        assert len(origin.requests) < fetched + 6, "the disk tier is used"
        assert "damaged" not in log()
    finally:
        edge.stop()
        origin.close()


# ---------------------------------------------------------------- the whole house


def test_a_house_on_a_full_disk_serves_says_so_and_recovers(disk):
    """Control database, journals, lake and caches share one disk, and somebody fills it."""
    directory = disk(HOUSE_DISK)
    country = Country(directory / "var").start()
    try:
        sites_stay(country, directory)
    finally:
        code = country.stop()
    assert code == 0
    assert country.cli("audit", "verify", "--config", str(country.dir / "control.toml")).returncode == 0


def counted(country, mark):
    sql = f"SELECT count(*) AS n FROM access WHERE url_path = '{mark}'"
    out = country.cli("query", "--dir", str(country.dir), "--format", "json", sql)
    return json.loads(out.stdout)[0]["n"] if out.returncode == 0 else None


def sites_stay(country, directory):
    nodes = ("control", "dispatch", "edge-hsinchu", "edge-taichung", "edge-tainan")
    for edge in ("hsinchu", "taichung", "tainan"):
        wait_for(lambda e=edge: country.get(e, SITE).status_code == 200, 30, f"the site at {edge}")
    operator = sign_in(country, "operator")
    console = country.at("console")
    rename = lambda name: operator.post(console + "/account/profile", timeout=40, allow_redirects=False, data={
        "csrf": csrf_of(operator.get(console + "/account", timeout=10).text), "name": name, "lang": "en"})
    assert rename("Before").status_code == 303
    before = f"/no/such-before-{time.time_ns()}"
    for _ in range(5):
        country.get("tainan", SITE, before)
    wait_for(lambda: counted(country, before) == 5, 60, "the events before", every=1)
    pids = {node: country.node_pid(node) for node in nodes}

    with filled(directory):
        # The data plane: pages of all sites and answers, as if nothing were.
        end = time.monotonic() + 12
        n = 0
        while time.monotonic() < end:
            for edge in ("hsinchu", "taichung", "tainan"):
                assert country.get(edge, SITE, f"/news/{n % 10 + 1}.html?n={n}").status_code == 200
            assert country.addresses(SITE, source="127.20.3.10") == ["127.30.3.1"]
            n += 1
        # The control plane: reading works; a change is refused as what it is, and is not half done.
        assert "Before" in operator.get(console + "/account", timeout=20).text
        refused = rename("x" * 60)
        assert refused.status_code == 503, f"{refused.status_code}: a full disk takes no change"
        assert "Before" in operator.get(console + "/account", timeout=20).text
        for edge in ("hsinchu", "taichung", "tainan"):
            assert gauge(country.at(f"edge_{edge}_metrics"), "civicnet_edge_disk_healthy") == 0, "the alarm in the metrics"
        assert {node: country.node_pid(node) for node in nodes} == pids, "nobody died"
        full_logs = {node: (country.dir / "nodes" / node / "log").read_text(errors="replace") for node in nodes}

    # Space again: everything goes on by itself.
    wait_for(lambda: rename("After").status_code == 303, 60, "changes again", every=0.5)
    assert "After" in operator.get(console + "/account", timeout=10).text
    after = f"/no/such-after-{time.time_ns()}"

    def events_again():
        country.get("tainan", SITE, after)
        return (counted(country, after) or 0) >= 3

    wait_for(events_again, 90, "events again", every=1)
    for edge in ("hsinchu", "taichung", "tainan"):
        wait_for(lambda e=edge: gauge(country.at(f"edge_{e}_metrics"), "civicnet_edge_disk_healthy") == 1, 30, "the caches' disk")
    assert counted(country, before) == 5, "nothing acknowledged is lost"
    assert {node: country.node_pid(node) for node in nodes} == pids, "nobody died"
    assert "the database has no space left" in full_logs["control"], full_logs["control"][-2000:]
    for key in ("hsinchu", "taichung", "tainan"):
        assert "No space left on device" in full_logs[f"edge-{key}"], full_logs[f"edge-{key}"][-2000:]
    assert requests.get(country.at("console") + "/login", timeout=10).status_code == 200
