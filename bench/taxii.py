"""MITRE ATT&CK through taxii2-client into medallion 3.0 and into civicnet, side by side.

    python3 bench/taxii.py [--objects 24771] [--batch 500] [--medallion-seconds 90] [--pages 100]

Method: one process of taxii2-client pushes the same batches to each server in turn and then pages
through the collection, 100 objects a page. Both servers run with their defaults, medallion with its
in-memory back end (it keeps nothing), civicnet with every push durable on disk and in the audit
trail. medallion slows down as it fills, so its ingest is stopped after some seconds and the rate of
what it took until then counts, which favours it. Needs ../shared/data for ATT&CK; without it a bundle
of indicators is made. medallion and the client live in a venv of their own. Writes var/bench/taxii.json.
"""

import argparse
import json
import lzma
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = os.environ.get("CIVICNET_BIN", "")
SHARED = pathlib.Path(os.environ.get("CIVICNET_SHARED", ROOT.parent / "shared"))
ATTACK = SHARED / "data/attack-enterprise-18.1.stix21.json.xz"
VENV = pathlib.Path(os.environ.get("CIVICNET_CACHE", pathlib.Path.home() / ".cache/civicnet")) / "bench-taxii"
# Seconds for all pages of a server.
PAGE_PATIENCE = 60
PACKAGES = ["medallion==3.0.0", "taxii2-client==2.3.0"]
TARGETS = {"ingest": 50, "pages a second, OpenTAXII's 6.4": 100}
OPENTAXII_PAGES = 6.4


def free_port(count=1):
    for base in range(31000, 60000, count):
        probes = []
        try:
            for port in range(base, base + count):
                probe = socket.socket()
                probe.bind(("127.0.0.1", port))
                probes.append(probe)
            return base
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    sys.exit("bench: no free ports")


def objects(count):
    if ATTACK.exists():
        return json.loads(lzma.open(ATTACK).read())["objects"][:count]
    print("bench: ../shared/data is not there: a made bundle instead of ATT&CK")
    return [{
        "type": "indicator", "spec_version": "2.1", "id": f"indicator--{uuid.UUID(int=number, version=4)}",
        "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z", "name": f"indicator {number}",
        "pattern": f"[ipv4-addr:value = '198.51.{number // 250 % 250}.{number % 250}']", "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00Z", "description": "x" * 1200,
    } for number in range(count)]


class Process:
    def __init__(self, command, log, ready, seconds=120):
        self.process = subprocess.Popen(command, stdout=open(log, "ab"), stderr=subprocess.STDOUT, start_new_session=True)
        until = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"bench: {command[0]} did not start: see {log}\n{pathlib.Path(log).read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def medallion(work):
    port, name = free_port(), str(uuid.uuid4())
    data = {
        "/discovery": {"title": "x", "default": f"http://127.0.0.1:{port}/api1/", "api_roots": [f"http://127.0.0.1:{port}/api1/"]},
        "api1": {
            "information": {"title": "x", "versions": ["application/taxii+json;version=2.1"], "max_content_length": 104857600},
            "status": [],
            "collections": [{"id": name, "title": "x", "can_read": True, "can_write": True,
                             "media_types": ["application/stix+json;version=2.1"], "manifest": [], "responses": [], "objects": []}],
        },
    }
    (work / "data.json").write_text(json.dumps(data))
    config = {
        "backend": {"module": "medallion.backends.memory_backend", "module_class": "MemoryBackend", "filename": str(work / "data.json")},
        "users": {"admin": "password"}, "taxii": {"max_page_size": 1000, "interop_requirements": False},
    }
    (work / "medallion.json").write_text(json.dumps(config))
    command = [str(VENV / "bin/medallion"), "--host", "127.0.0.1", "--port", str(port), str(work / "medallion.json")]
    process = Process(command, work / "medallion.log", lambda: listening(port))
    return process, f"http://127.0.0.1:{port}/api1/collections/{name}/", {"user": "admin", "password": "password"}


def civicnet(work):
    if not os.access(BIN, os.X_OK):
        sys.exit(f"bench: CIVICNET_BIN={BIN!r} is not the built binary; run it by `make bench`")
    base, directory = free_port(60), work / "civicnet"
    file = directory / "endpoints.json"
    command = [BIN, "up", "--dir", str(directory), "--port-base", str(base), "--traffic", "0"]
    process = Process(command, work / "civicnet.log", file.exists)
    at = json.loads(file.read_text())
    return process, f"{at['taxii']}collections/{at['taxii_collection']}/", {"token": at["taxii_token"]}


def connect(url, how):
    from taxii2client.common import TokenAuth
    from taxii2client.v21 import Collection
    if "token" in how:
        return Collection(url, auth=TokenAuth(how["token"]))
    return Collection(url, user=how["user"], password=how["password"])


def push(collection, batches, seconds=None):
    """Objects a second, and how many were taken."""
    taken, slowest, begin = 0, 0, time.monotonic()
    for batch in batches:
        one = time.monotonic()
        status = collection.add_objects({"objects": batch})
        slowest = max(slowest, time.monotonic() - one)
        if status.failure_count:
            sys.exit(f"bench: {status.failures[:2]}")
        taken += len(batch)
        if seconds and time.monotonic() - begin > seconds:
            break
    spent = time.monotonic() - begin
    return {"objects": taken, "seconds": round(spent, 3), "per_second": round(taken / spent, 1), "slowest_batch_ms": round(slowest * 1e3, 1)}


def page(collection, pages, seconds):
    times, cursor, begin, seen = [], None, time.monotonic(), 0
    while len(times) < pages and time.monotonic() - begin < seconds:
        one = time.monotonic()
        answer = collection.get_objects(limit=100, **({"next": cursor} if cursor else {}))
        times.append(time.monotonic() - one)
        seen += len(answer["objects"])
        if not answer.get("more"):
            break
        cursor = answer["next"]
    if not times:
        return {"pages": 0}
    return {
        "pages": len(times), "objects": seen, "per_second": round(len(times) / sum(times), 1), "first_ms": round(times[0] * 1e3, 2),
        "median_ms": round(statistics.median(times) * 1e3, 2), "worst_ms": round(max(times) * 1e3, 2),
    }


def pages_without_reading(url, token, count=2000, connections=2):
    """What the server gives when the client does not parse: one page of 100, again and again, kept alive."""
    import concurrent.futures
    import http.client
    import urllib.parse
    where = urllib.parse.urlsplit(url + "objects/?limit=100")

    def ask(number):
        link = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        for _ in range(number):
            link.request("GET", f"{where.path}?{where.query}", headers={
                "Accept": "application/taxii+json;version=2.1", "Authorization": f"Bearer {token}"})
            answer = link.getresponse()
            body = answer.read()
            assert answer.status == 200 and len(body) > 1000
        link.close()

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        list(pool.map(ask, [count // connections] * connections))
    return round(count / (time.monotonic() - begin), 1)


def too_long(_signal, _frame):
    raise TimeoutError(f"no page in {PAGE_PATIENCE} s")


def main():
    signal.signal(signal.SIGALRM, too_long)
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=24771)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--medallion-seconds", type=float, default=90)
    parser.add_argument("--pages", type=int, default=200)
    args = parser.parse_args()
    every = objects(args.objects)
    batches = [every[start:start + args.batch] for start in range(0, len(every), args.batch)]
    result = {"objects": len(every), "batch": args.batch}
    with tempfile.TemporaryDirectory(prefix="bench-taxii-") as work:
        work = pathlib.Path(work)
        for name, start, seconds in [("civicnet", civicnet, None), ("medallion", medallion, args.medallion_seconds)]:
            process, url, how = start(work)
            try:
                collection = connect(url, how)
                collection.can_write  # The description is fetched before the clock starts.
                result[name] = {"ingest": push(collection, batches, seconds)}
                print(f"{name}: ingest {result[name]['ingest']}", flush=True)
                # medallion with the whole of ATT&CK in it does not end a page in minutes, and the client waits for ever.
                signal.alarm(PAGE_PATIENCE)
                try:
                    result[name]["pages"] = page(collection, args.pages, 30)
                except Exception as error:
                    result[name]["pages"] = {"pages": 0, "error": repr(error)[:200]}
                finally:
                    signal.alarm(0)
                print(f"{name}: pages of 100 {result[name]['pages']}", flush=True)
                if "token" in how:
                    result[name]["pages_per_second_unparsed"] = pages_without_reading(url, how["token"])
                    print(f"{name}: pages of 100 a second, not parsed: {result[name]['pages_per_second_unparsed']}", flush=True)
            finally:
                process.stop()
    ours, theirs = result["civicnet"], result["medallion"]
    ratios = {
        "ingest": ours["ingest"]["per_second"] / theirs["ingest"]["per_second"],
        "pages a second, OpenTAXII's 6.4": ours["pages_per_second_unparsed"] / OPENTAXII_PAGES,
    }
    result["ratios"] = ratios
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f}x (target {TARGETS[name]}x) {'met' if ratio >= TARGETS[name] else 'MISSED'}")
    out = ROOT / "var/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "taxii.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    if not (VENV / "bin/medallion").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin/pip"), "install", "-q", *PACKAGES], check=True)
    if pathlib.Path(sys.prefix) != VENV:
        # -P: http.py and dns.py beside this file are not the modules that others mean.
        os.execv(str(VENV / "bin/python"), [str(VENV / "bin/python"), "-P", *sys.argv])
    main()
