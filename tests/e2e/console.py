"""The console as a person with a browser uses it."""

import contextlib
import re

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

LANGUAGES = ["zh-TW", "en"]
# What a text is called when the console forgot to say it: `nav-sites`, `case-state-draft`.
KEY = re.compile(r"\b(?:nav|case|event|field|form|apply|site|sites|edge|edges|stats|order|purge|preload|review|inbox|letter|delivery|deliveries|"
                 r"proof|proofs|login|account|role|level|notice|person|org|dispatch|version|settings|hosts|certificate)-[a-z]+(?:-[a-z]+)*\b")


class Console:
    """One person's window on the console at `base`."""

    def __init__(self, driver, base, seconds=20):
        self.driver = driver
        self.base = base
        self.seconds = seconds

    def go(self, path):
        self.driver.get(self.base + path)
        self.settled()

    def settled(self):
        self.wait(lambda d: d.execute_script("return document.readyState") == "complete")

    def wait(self, condition, what=""):
        return WebDriverWait(self.driver, self.seconds, 0.1).until(condition, what or f"at {self.driver.current_url}")

    def one(self, css):
        return self.wait(lambda d: next(iter(d.find_elements(By.CSS_SELECTOR, css)), None), f"{css} at {self.driver.current_url}")

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def fill(self, name, value):
        field = self.one(f"#content [name='{name}']")
        field.clear()
        field.send_keys(value)

    def press(self, css):
        """Presses a button or link and waits for the page that follows."""
        button = self.one(css)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        self.follow(button.click)

    def follow(self, act):
        self.driver.execute_script("window.civicnetLeaving = true")
        act()
        self.wait(lambda d: not d.execute_script("return window.civicnetLeaving === true"), f"a page after {self.driver.current_url}")
        self.settled()

    def send(self, form):
        """Sends the form whose address begins or ends so, by its own first button."""
        self.press(f"{form} button[type=submit], {form} button:not([type])")

    def sign_in(self, login):
        self.go("/login")
        self.fill("email", login["email"])
        self.fill("password", login["password"])
        self.send("#content form[action='/login']")
        assert "/login" not in self.driver.current_url, self.text()

    def text(self):
        return self.driver.execute_script("return document.body.innerText")

    def rooms(self):
        """The addresses in the navigation."""
        return self.driver.execute_script(
            "return [...new Set([...document.querySelectorAll('.rail a')].map(a => a.getAttribute('href')))]")

    def message_keys(self):
        """Texts that were left as their keys."""
        shown = self.driver.execute_script(
            "return [...document.querySelectorAll('h1,h2,h3,label,button,th,dt,a,.tile-label,.badge,.notice-title,.empty-title')]"
            ".map(e => e.textContent.trim())")
        return sorted({text for text in shown if KEY.fullmatch(text)})

    def path(self):
        return self.driver.execute_script("return location.pathname")


@contextlib.contextmanager
def signed_in(chromium, base, login, **how):
    with chromium(**how) as driver:
        console = Console(driver, base)
        console.sign_in(login)
        yield console
