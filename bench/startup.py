"""Start-up of an edge with 10,000 sites and 1,000,000 cached objects, by the real binary.

    python3 bench/startup.py [--sites 10000] [--objects 1000000] [--rounds 5] [--dir DIR]

The node is enrolled, its snapshot is on its disk, its control plane is gone. Each round starts
`civicnet run edge`, asks until the first hit comes from the cache, reads 1,000 objects spread over
all sites, and kills the process with SIGKILL. The first round comes after the page cache was
dropped, where that is allowed. Writes var/bench/startup.json.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = os.environ.get("CIVICNET_BIN", "")
BENCH = os.environ.get("CIVICNET_BENCH_BIN") or str(pathlib.Path(BIN).with_name("civicnet-bench"))
GIVE_UP_S = 120
SPREAD = 1_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def forget_files():
    """Empties the page cache; only root may."""
    try:
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def fetch(connection, number, sites):
    connection.request("GET", f"/page/{number}.html", headers={"Host": f"www.agency-{number % sites}.gov.test"})
    answer = connection.getresponse()
    body = answer.read()
    return answer.status == 200 and body == bytes([ord("a") + number % 26]) * 1024 and "hit" in answer.getheader("Cache-Status", "")


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def start(config, port, args, log):
    begun = time.monotonic()
    child = subprocess.Popen([BIN, "run", "edge", "--config", config], stdout=log, stderr=log)
    try:
        last = args.objects - 1
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP_S)
                if fetch(connection, last, args.sites):
                    break
            except OSError:
                pass
            if child.poll() is not None or time.monotonic() - begun > GIVE_UP_S:
                sys.exit(f"bench: the edge did not serve within {GIVE_UP_S} s; see {log.name}")
            time.sleep(0.002)
        first_hit = time.monotonic() - begun
        memory = resident_mib(child.pid)
        step = max(1, args.objects // SPREAD) | 1  # odd: not always the same few sites
        numbers = range(0, args.objects, step)
        asked = time.monotonic()
        missed = sum(not fetch(connection, number, args.sites) for number in numbers)
        spread = time.monotonic() - asked
        if missed:
            sys.exit(f"bench: {missed} of {len(numbers)} objects did not come from the cache")
        return {"first_hit_s": first_hit, "resident_mib": memory, "thousand_s": spread * SPREAD / len(numbers)}
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=pathlib.Path, help="keep the node here (default: made anew and deleted)")
    args = parser.parse_args()
    if not os.access(BIN, os.X_OK) or not os.access(BENCH, os.X_OK):
        sys.exit("bench: CIVICNET_BIN must name the built binary, beside civicnet-bench; run it by `make bench`")
    out = ROOT / "var" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    node = args.dir or out / "startup-node"
    port = free_port()
    make = [BENCH, "edge-node", "--dir", str(node), "--sites", str(args.sites), "--objects", str(args.objects)]
    make += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{free_port()}"]
    print(f"a node with {args.sites:,} sites and {args.objects:,} objects …", file=sys.stderr)
    config = subprocess.run(make, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    rounds = []
    try:
        with open(out / "startup.log", "w") as log:
            cold = forget_files()
            for _ in range(args.rounds):
                rounds.append(start(config, port, args, log))
    finally:
        if not args.dir:
            shutil.rmtree(node, ignore_errors=True)
    warm = rounds[1:] or rounds
    print(f"\nstart of an edge with {args.sites:,} sites and {args.objects:,} cached objects, after SIGKILL")
    if cold:
        print(f"  files not in memory: first hit after {rounds[0]['first_hit_s']:.2f} s, 1,000 objects of 1,000 sites in {rounds[0]['thousand_s']:.2f} s")
    print(f"  files in memory:     first hit after {statistics.median(r['first_hit_s'] for r in warm):.2f} s, 1,000 objects in {statistics.median(r['thousand_s'] for r in warm):.2f} s")
    print(f"  {statistics.median(r['resident_mib'] for r in rounds)} MiB resident at the first hit")
    (out / "startup.json").write_text(json.dumps({"sites": args.sites, "objects": args.objects, "cold": cold, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
