"""100,000 objects pushed by TAXII while ten readers page through the collection: each reader must see each object exactly once.

    python3 bench/readers.py [--objects 100000] [--batch 1000] [--readers 10] [--limit 1000] [--seconds 300]

Method: one process pushes, each reader is a process of its own that follows the server's cursors from the beginning, and at the end
of what is there asks again from the same cursor. What a page repeats after its own cursor is counted as a repeat, what is missing
when the push is over and a reader has come to the end is counted as lost. The server is a whole sandbox with its defaults: every
push is durable and in the audit trail before it is answered. Writes var/bench/readers.json and fails when anything is lost or
comes twice.
"""

import argparse
import json
import multiprocessing
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid

import taxii

TYPE = "application/taxii+json;version=2.1"
NAMESPACE = uuid.UUID("6c0b1d3e-5a77-4d0a-9d5e-0d5f5f1a7c11")


def ask(url, token, body=None):
    request = urllib.request.Request(url, data=body, headers={"accept": TYPE, "authorization": f"Bearer {token}"})
    if body is not None:
        request.add_header("content-type", TYPE)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def identifier(run, number):
    return f"indicator--{uuid.uuid5(NAMESPACE, f'{run} {number}')}"


def batches(run, count, size):
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    for start in range(0, count, size):
        yield json.dumps({"objects": [{
            "type": "indicator", "spec_version": "2.1", "id": identifier(run, number), "created": at, "modified": at,
            "name": f"indicator {number}", "pattern": f"[ipv4-addr:value = '{100 + number // 65536}.{number // 256 % 256}.{number % 256}.7']",
            "pattern_type": "stix", "valid_from": at, "confidence": 20,
        } for number in range(start, min(start + size, count))]}).encode()


def read(reader, url, token, run, count, limit, until, results):
    wanted = {identifier(run, number) for number in range(count)}
    seen, twice, pages, cursor, times = set(), 0, 0, None, []
    tail = set()
    while len(seen) < count and time.monotonic() < until:
        begin = time.monotonic()
        page = ask(f"{url}objects/?limit={limit}" + (f"&next={cursor}" if cursor else ""), token)
        times.append(time.monotonic() - begin)
        pages += 1
        ids = [one["id"] for one in page.get("objects", []) if one["id"] in wanted]
        # The last page is asked for again until it is full: what it showed before is no repeat.
        fresh = [one for one in ids if one not in tail]
        twice += len(ids) - len(set(ids)) + sum(one in seen for one in fresh)
        seen.update(fresh)
        if page.get("more"):
            cursor, tail = page["next"], set()
        else:
            tail = set(ids)
            time.sleep(0.02)
    results.put({"reader": reader, "seen": len(seen), "twice": twice, "pages": pages, "page_p50_ms": 1000 * statistics.median(times),
                 "page_p99_ms": 1000 * sorted(times)[int(0.99 * (len(times) - 1))]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("objects", 100_000), ("batch", 1_000), ("readers", 10), ("limit", 1_000), ("seconds", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    run = str(uuid.uuid4())
    with tempfile.TemporaryDirectory(prefix="civicnet-bench-") as work:
        process, url, how = taxii.civicnet(pathlib.Path(work))
        try:
            token, until = how["token"], time.monotonic() + wanted.seconds
            results = multiprocessing.Queue()
            readers = [multiprocessing.Process(target=read, args=(number, url, token, run, wanted.objects, wanted.limit, until, results))
                       for number in range(wanted.readers)]
            for reader in readers:
                reader.start()
            begin, slowest, refused = time.monotonic(), 0.0, 0
            for body in batches(run, wanted.objects, wanted.batch):
                one = time.monotonic()
                status = ask(f"{url}objects/", token, body)
                refused += status["failure_count"]
                slowest = max(slowest, time.monotonic() - one)
            pushed = time.monotonic() - begin
            told = [results.get(timeout=wanted.seconds + 120) for _ in readers]
            read_in = time.monotonic() - begin
            for reader in readers:
                reader.join()
        finally:
            process.stop()
    lost = sum(wanted.objects - one["seen"] for one in told)
    twice = sum(one["twice"] for one in told)
    figures = {
        "objects": wanted.objects, "readers": wanted.readers, "refused": refused, "lost": lost, "twice": twice,
        "push_s": round(pushed, 1), "objects_a_second": round(wanted.objects / pushed), "slowest_push_ms": round(1000 * slowest),
        "all_read_after_s": round(read_in, 1), "pages": sum(one["pages"] for one in told),
        "page_p50_ms": round(statistics.median(one["page_p50_ms"] for one in told), 1),
        "page_p99_ms": round(max(one["page_p99_ms"] for one in told), 1),
    }
    out = taxii.ROOT / "var/bench/readers.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    sys.exit(1 if lost or twice or refused else 0)


if __name__ == "__main__":
    main()
