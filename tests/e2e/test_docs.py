"""What README and docs tell a reader: every command is typed, every link is followed, both languages tell the same."""

import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import urlparse

import pytest
from country import BIN

ROOT = Path(__file__).parents[2]
GENERATED = {"configuration.md"}
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")] if page.name not in GENERATED)
PROGRAMS = ("civicnet", "dig", "curl")
# What goes on until it is told to stop is asked for its help, and so is what stands for something else.
ENDLESS = ("civicnet up", "civicnet run", "civicnet reload")
PLACEHOLDER = re.compile(r"…|\[|<|\b[A-Z]{4,}\b(?![^\"']*[\"'])|/etc/|ROLE")


def code(page):
    """Code spans and the lines of code blocks."""
    text = page.read_text()
    blocks = re.findall(r"(?ms)^```[a-z]*\n(.*?)^```", text)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text))
    return [line.split("  #")[0].strip() for line in [*spans, *(line for block in blocks for line in block.splitlines())]]


def commands():
    seen = {}
    for page in PAGES:
        for line in code(page):
            if line.split(" ")[0] in PROGRAMS and " " in line:
                seen.setdefault(line, page.name)
    return [pytest.param(line, id=f"{page}: {line}"[:90]) for line, page in seen.items()]


def test_there_are_commands_to_check():
    assert len(commands()) >= 15


def known_to_help(line, words):
    for depth in range(len(words), 0, -1):
        out = subprocess.run([BIN, *words[:depth], "--help"], capture_output=True, text=True, timeout=20)
        if out.returncode == 0:
            break
    assert out.returncode == 0, out.stderr
    for option in re.findall(r"--[a-z-]+", line):
        assert option in out.stdout, f"{option} is not in the help of `civicnet {' '.join(words[:depth])}`"


@pytest.mark.parametrize("line", commands())
def test_a_command_works_as_written(country, line):
    words = shlex.split(line)
    if line.startswith(ENDLESS) or PLACEHOLDER.search(line):
        assert words[0] == "civicnet", f"{line}: only our own commands are shown with placeholders"
        known = []
        for word in words[1:]:
            if not re.fullmatch(r"[a-z][a-z-]*", word):
                break
            known.append(word)
        if line.startswith(ENDLESS):
            known = known[: 2 if known[1:2] in (["rpki"], ["glass"]) else 1]
        known_to_help(line, known)
        return

    host, port = country.at("dispatch_dns").rsplit(":", 1)
    edge = urlparse(country.at("edge_hsinchu_http"))
    for usual, here in [
        ("@127.0.0.1 -p 5300", f"@{host} -p {port}"),
        ("http://127.0.0.1:8003/why", country.at("dispatch_why")),
        (":8080", f":{edge.port}"),
        ("http://localhost:8000", country.at("console")),
    ]:
        line = line.replace(usual, here)
    words = shlex.split(line)
    if words[0] == "civicnet":
        words[0] = BIN
    out = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=country.dir.parent)
    if out.returncode == 2 and re.fullmatch(r"civicnet( [a-z-]+)+", line):
        # Only named, without what it needs.
        known_to_help(line, words[1:])
        return
    assert out.returncode == 0, f"{line}\n{out.stdout[-1000:]}\n{out.stderr[-2000:]}"
    assert out.stdout.strip(), f"{line} says nothing"
    if words[0] == "dig":
        assert "status: NOERROR" in out.stdout and "ANSWER: 0" not in out.stdout, out.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_and_make_knows_its_targets(page):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not urlparse(target).scheme:
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"
    for line in code(page):
        if line.startswith("make "):
            target = line.split(" ")[1]
            assert re.search(rf"(?m)^{re.escape(target)}:", makefile), f"{page.name}: there is no `{line}`"


def test_both_readmes_show_the_same_commands_and_pages():
    def shown(name):
        page = ROOT / name
        links = {target.replace("README.zh-TW.md", "README.md").replace("-zh-TW", "-en") for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())}
        typed = {line for line in code(page) if line.split(" ")[0] in (*PROGRAMS, "make")}
        return links - {"README.md"}, typed

    assert shown("README.md") == shown("README.zh-TW.md")
