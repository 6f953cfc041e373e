"""Takes the screenshots of the documentation from a running sandbox: `screenshots.py DIRECTORY-OF-THE-SANDBOX`."""

import argparse
import json
from pathlib import Path
from urllib.parse import urlparse

from browser import DESK, PHONE, chromium
from console import signed_in
from country import wait_for

SHOTS = Path(__file__).parents[2] / "docs/screenshots"
BYTES_MAX = 300_000


def save(console, name):
    file = SHOTS / name
    assert console.driver.save_screenshot(str(file)), f"no screenshot {file}"
    size = file.stat().st_size
    assert size < BYTES_MAX, f"{file} holds {size} bytes, over {BYTES_MAX}"
    print(file, size)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=Path, help="the directory given to `civicnet up --dir`")
    directory = parser.parse_args().dir
    base = json.loads((directory / "endpoints.json").read_text())["console"]
    logins = json.loads((directory / "logins.json").read_text())
    SHOTS.mkdir(parents=True, exist_ok=True)

    def window(person, language, size=DESK):
        return signed_in(chromium, base, logins[person], language=language, size=size)

    for language in ("zh-TW", "en"):
        with window("operator", language, (1360, 1180)) as console:
            console.go("/edges")
            save(console, f"console-{language}.png")
            if language == "zh-TW":
                console.driver.execute_script("document.querySelector('#content table').closest('section').scrollIntoView()")
                save(console, "edges.png")
    with window("library-owner", "en", (1360, 1180)) as console:
        console.go("/sites")
        site = urlparse(console.one("#content td a[href^='/sites/']").get_attribute("href")).path
        console.go(f"{site}/stats")
        wait_for(lambda: console.all(".chart svg, .chart canvas"), what="the charts")
        save(console, "site-statistics.png")
    with window("museum-owner", "zh-TW", PHONE) as console:
        console.go("/apply/cdn-site")
        save(console, "apply-phone.png")


if __name__ == "__main__":
    main()
