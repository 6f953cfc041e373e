"""One role alone in one line, and the commands around it."""

import json
import os
import subprocess

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
import requests
from alone import Origin, Process, free_port
from country import BIN, wait_for


def run(*arguments, **how):
    return subprocess.run([BIN, *arguments], capture_output=True, text=True, timeout=60, **how)


# ---------------------------------------------------------------- edge


@pytest.fixture
def edge(tmp_path):
    content = {"/page": b"first", "/big": os.urandom(3_000_000)}

    def answer(method, path, headers, body):
        if path == "/echo":
            return 200, {"Cache-Control": "no-store", "X-Method": method}, body
        if path in content:
            return 200, {"Cache-Control": "max-age=300, stale-if-error=600", "Content-Type": "text/plain"}, content[path]
        if path == "/short":
            return 200, {"Cache-Control": "max-age=1, stale-if-error=600"}, b"short"
        return 404, {}, b"nothing here"

    origin = Origin(answer)
    origin.content = content
    port = free_port()
    arguments = ["run", "edge", "--origin", origin.url, "--listen", f"127.0.0.1:{port}", "--cache-dir", str(tmp_path / "cache")]
    process = Process(arguments, tmp_path / "log", port).start()
    process.origin, process.url = origin, f"http://127.0.0.1:{port}"
    yield process
    process.stop()
    origin.close()


def test_a_page_is_fetched_once_and_says_how_it_was_served(edge):
    first = requests.get(edge.url + "/page", timeout=10)
    second = requests.get(edge.url + "/page", timeout=10)
    assert first.content == second.content == b"first"
    assert "hit" not in first.headers["Cache-Status"]
    assert "hit" in second.headers["Cache-Status"]
    assert int(second.headers["Age"]) >= 0
    assert edge.origin.count("/page") == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_every_method_is_forwarded_with_its_body(edge, method):
    answer = requests.request(method, edge.url + "/echo", data=b"x" * 70_000, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["X-Method"] == method
    assert answer.content == b"x" * 70_000


def test_a_killed_edge_is_warm_again(edge):
    for path in ("/page", "/big"):
        requests.get(edge.url + path, timeout=10)
    # What is on disk is on disk by itself: no orderly end tells the edge to write.
    wait_for(lambda: sum(f.stat().st_size for f in (edge.log.parent / "cache").rglob("*") if f.is_file()) > 3_000_000, 20, "the disk tier")
    edge.kill()
    edge.origin.close()
    edge.start()
    answer = requests.get(edge.url + "/big", timeout=10)
    assert answer.status_code == 200
    assert answer.content == edge.origin.content["/big"]
    assert "hit" in answer.headers["Cache-Status"]


def test_with_the_origin_dead_stale_is_served_and_then_a_clear_error(edge):
    assert requests.get(edge.url + "/short", timeout=10).content == b"short"
    edge.origin.close()
    wait_for(lambda: "origin-failed" in requests.get(edge.url + "/short", timeout=10).headers["Cache-Status"], 10, "a stale answer")
    stale = requests.get(edge.url + "/short", timeout=10)
    assert stale.status_code == 200 and stale.content == b"short"
    error = requests.get(edge.url + "/never-seen", timeout=10)
    assert error.status_code in (502, 503, 504)
    assert error.headers["Content-Type"].startswith("text/html")
    assert 'lang="zh' in error.text and 'lang="en"' in error.text
    assert "no-store" in error.headers.get("Cache-Control", "")


def test_ranges_and_conditions_are_answered_from_the_cache(edge):
    whole = requests.get(edge.url + "/big", timeout=10)
    part = requests.get(edge.url + "/big", headers={"Range": "bytes=1000-1999"}, timeout=10)
    assert part.status_code == 206 and part.content == whole.content[1000:2000]
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(whole.content)}"
    beyond = requests.get(edge.url + "/big", headers={"Range": "bytes=9000000-"}, timeout=10)
    assert beyond.status_code == 416
    assert edge.origin.count("/big") == 1


def test_curl_speaks_http2_to_it_over_tls(tmp_path):
    origin = Origin(lambda *_: (200, {"Cache-Control": "max-age=60"}, b"over tls"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=www.test.example", "-addext", "subjectAltName=DNS:www.test.example",
                    "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "chain.pem")], check=True, capture_output=True)
    plain, tls = free_port(), free_port()
    edge = Process(["run", "edge", "--origin", origin.url, "--listen", f"127.0.0.1:{plain}", "--listen-https", f"127.0.0.1:{tls}",
                    "--certificate", str(tmp_path / "chain.pem"), "--key", str(tmp_path / "key.pem")], tmp_path / "log", tls).start()
    try:
        for version, expected in (("--http2", "2"), ("--http1.1", "1.1")):
            for tls_version in ("1.2", "1.3"):
                out = subprocess.run(
                    ["curl", "-sS", version, f"--tlsv{tls_version}", "--tls-max", tls_version, "--cacert", str(tmp_path / "chain.pem"),
                     "--resolve", f"www.test.example:{tls}:127.0.0.1", "-w", "\n%{http_version} %{http_code}", f"https://www.test.example:{tls}/x"],
                    capture_output=True, text=True, timeout=30)
                assert out.returncode == 0, out.stderr
                assert out.stdout == f"over tls\n{expected} 200"
    finally:
        edge.stop()
        origin.close()


# ---------------------------------------------------------------- dispatch

ZONE = """$ORIGIN example.test.
$TTL 300
@       IN SOA ns1 hostmaster 7 3600 600 86400 60
        IN NS  ns1
ns1     IN A   127.0.0.1
www     IN A   192.0.2.1
        IN AAAA 2001:db8::1
alias   IN CNAME www
*.wild  IN TXT "caught"
old     IN DNAME new
a.new   IN A   192.0.2.9
child   IN NS  ns.child
ns.child IN A  192.0.2.53
hidden.child IN A 192.0.2.66
"""


@pytest.fixture(scope="module")
def dispatch(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dispatch")
    zone = directory / "example.zone"
    zone.write_text(ZONE)
    port = free_port()
    process = Process(["run", "dispatch", "--zone", str(zone), "--listen", f"127.0.0.1:{port}"], directory / "log", port).start()
    yield process
    process.stop()


def ask(dispatch, name, kind="A", tcp=False):
    query = dns.message.make_query(name, kind)
    return (dns.query.tcp if tcp else dns.query.udp)(query, "127.0.0.1", port=dispatch.port, timeout=3)


def texts(section):
    return {line for rrset in section for line in rrset.to_text().splitlines()}


@pytest.mark.parametrize("tcp", [False, True])
def test_the_zone_is_served_as_the_rfcs_say(dispatch, tcp):
    answer = ask(dispatch, "alias.example.test", tcp=tcp)
    assert answer.flags & dns.flags.AA
    assert texts(answer.answer) == {"alias.example.test. 300 IN CNAME www.example.test.", "www.example.test. 300 IN A 192.0.2.1"}

    absent = ask(dispatch, "nothing.example.test", tcp=tcp)
    assert absent.rcode() == dns.rcode.NXDOMAIN
    assert [rrset.ttl for rrset in absent.authority] == [60], "the negative TTL is SOA MINIMUM (RFC 2308)"

    wild = ask(dispatch, "x.y.wild.example.test", "TXT", tcp=tcp)
    assert texts(wild.answer) == {'x.y.wild.example.test. 300 IN TXT "caught"'}

    renamed = ask(dispatch, "a.old.example.test", tcp=tcp)
    assert "a.new.example.test. 300 IN A 192.0.2.9" in texts(renamed.answer)
    assert "a.old.example.test. 300 IN CNAME a.new.example.test." in texts(renamed.answer)

    referral = ask(dispatch, "hidden.child.example.test", tcp=tcp)
    assert not referral.flags & dns.flags.AA and not referral.answer
    assert texts(referral.authority) == {"child.example.test. 300 IN NS ns.child.example.test."}
    assert texts(referral.additional) == {"ns.child.example.test. 300 IN A 192.0.2.53"}

    assert ask(dispatch, "www.elsewhere.test", tcp=tcp).rcode() == dns.rcode.REFUSED


def test_dig_is_content(dispatch):
    out = subprocess.run(["dig", "@127.0.0.1", "-p", str(dispatch.port), "+short", "www.example.test", "AAAA"],
                         capture_output=True, text=True, timeout=20)
    assert out.stdout == "2001:db8::1\n"


def test_a_bad_zone_file_is_refused_with_its_place(tmp_path):
    zone = tmp_path / "bad.zone"
    zone.write_text(ZONE + "broken IN A 192.0.2.300\n")
    out = run("run", "dispatch", "--zone", str(zone), "--listen", f"127.0.0.1:{free_port()}")
    assert out.returncode == 1
    line = ZONE.count("\n") + 1
    assert f"line {line}, column" in out.stderr and "192.0.2.300" in out.stderr, out.stderr


# ---------------------------------------------------------------- commands


def test_addresses_that_are_not_loopback_need_a_word(tmp_path):
    out = run("run", "edge", "--origin", "http://127.0.0.1:9", "--listen", "0.0.0.0:0")
    assert out.returncode in (1, 2)
    assert "--public" in out.stderr


def test_config_check_points_at_the_place(tmp_path):
    file = tmp_path / "civicnet.toml"
    file.write_text('[edge]\nmemory_mib = 64\n\n[dispatch]\nlissten = ["127.0.0.1:53"]\n')
    out = run("config", "check", str(file))
    assert out.returncode == 3
    assert f"{file}:5:1" in out.stderr and "dispatch.lissten" in out.stderr and "listen" in out.stderr
    file.write_text("[edge]\nmemory_mib = 64\n")
    assert run("config", "check", str(file)).returncode == 0


@pytest.mark.parametrize(("what", "file"), [("schema", "configuration.schema.json"), ("reference", "configuration.md"), ("sample", "civicnet.sample.toml")])
def test_the_configuration_documents_are_current(what, file):
    committed = os.path.join(os.path.dirname(__file__), "../../docs", file)
    assert run("config", what).stdout == open(committed).read(), f"docs/{file} is stale: run `make docs`"


def test_the_sample_configuration_is_valid(tmp_path):
    sample = tmp_path / "sample.toml"
    sample.write_text(run("config", "sample").stdout)
    out = run("config", "check", str(sample))
    assert out.returncode == 0, out.stderr


def test_the_openapi_document_is_current():
    committed = os.path.join(os.path.dirname(__file__), "../../docs/openapi.json")
    printed = json.loads(run("openapi").stdout)
    assert printed["openapi"].startswith("3.1")
    assert printed == json.load(open(committed)), "docs/openapi.json is stale: run `make docs`"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_it(shell):
    out = run("completions", shell)
    assert out.returncode == 0 and "no-events" in out.stdout


def test_wrong_use_is_exit_code_2():
    assert run("fly").returncode == 2
    assert run("run", "edgy").returncode == 2
