"""Every way into the console, in a real browser: passkeys, one-time codes, a provider of single sign-on."""

import contextlib

import pyotp
import pytest
from api import Api
from browser import DESK, accessible, chromium
from console import LANGUAGES, Console
from country import Country, wait_for
from oidc_provider_mock import User, run_server_in_thread
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

# Each language has somebody of its own, so that both stories are told from their beginning.
PEOPLE = {"zh-TW": "library-owner", "en": "weather-owner"}
CODED = {"zh-TW": "auditor", "en": "officer-2"}
VOUCHED = {"zh-TW": ("officer-1", "以市府單一登入登入"), "en": ("museum-owner", "City sign-on")}
STEP_S = 30


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """A sandbox whose console trusts a provider of single sign-on."""
    with run_server_in_thread(require_nonce=True, user_claims=people_at_provider()) as provider:
        env = {
            "CIVICNET__WEB__OIDC__ISSUER": f"http://localhost:{provider.server_port}",
            "CIVICNET__WEB__OIDC__CLIENT_ID": "civicnet",
            "CIVICNET__WEB__OIDC__CLIENT_SECRET": "secret",
            "CIVICNET__WEB__OIDC__NAME_ZH": "市府單一登入",
            "CIVICNET__WEB__OIDC__NAME_EN": "City sign-on",
        }
        country = Country(tmp_path_factory.mktemp("doors") / "var", env=env).start()
        yield country
        country.stop()


def people_at_provider():
    """The provider knows people by names of its own, and has verified the addresses of all but one."""
    known = [User(sub=f"citizen-{who}", claims={"email": email(who), "email_verified": True}) for who, _ in VOUCHED.values()]
    return [*known, User(sub="mallory", claims={"email": email("operator"), "email_verified": False}),
            User(sub="stranger", claims={"email": "stranger@elsewhere.test", "email_verified": True})]


def email(who):
    if who.rpartition("-")[2] in ("owner", "viewer"):
        site, _, role = who.rpartition("-")
        return f"{role}@{site}.gov.test"
    return f"{who}@civicnet.test"


@contextlib.contextmanager
def window(country, language):
    with chromium(language=language, size=DESK) as driver:
        yield Console(driver, country.at("console"))


def sign_out(console):
    console.one(".tools details:last-of-type summary").click()
    console.send(".tools form[action='/logout']")


def signed_in_as(console):
    """The name of whom the page says is signed in; none when nobody is."""
    names = console.all(".tools details:last-of-type summary span")
    return names[-1].text if console.all(".tools form[action='/logout']") else None


def wait_text(console, css):
    """The text of an element once it has any."""
    return console.wait(lambda d: next((e.text for e in d.find_elements(By.CSS_SELECTOR, css) if e.text.strip()), None), css)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_passkey_is_registered_signs_in_and_is_removed(doors, language):
    login = doors.logins()[PEOPLE[language]]
    with window(doors, language) as console:
        options = VirtualAuthenticatorOptions(protocol=VirtualAuthenticatorOptions.Protocol.CTAP2,
                                              transport=VirtualAuthenticatorOptions.Transport.INTERNAL,
                                              has_resident_key=True, has_user_verification=True, is_user_verified=True)
        console.driver.add_virtual_authenticator(options)
        console.sign_in(login)
        name = signed_in_as(console)
        assert name

        console.go("/account/passkeys")
        accessible(console.driver, "/account/passkeys")
        assert not console.all("#content tbody tr form"), "no passkey yet"
        console.fill("passkey-name", f"Key {language}")
        console.follow(console.one("[data-passkey-kind=create]").click)
        assert console.path() == "/account/passkeys"
        assert f"Key {language}" in console.text()
        assert len(console.driver.get_credentials()) == 1
        assert console.driver.get_credentials()[0].is_resident_credential

        # One authenticator is not registered twice for one person.
        console.one("[data-passkey-kind=create]").click()
        assert wait_text(console, "#passkey-status")
        assert len(console.driver.get_credentials()) == 1

        sign_out(console)
        assert signed_in_as(console) is None
        console.go("/account/passkeys")
        assert console.path() == "/login", "signed out"
        accessible(console.driver, "/login")
        console.follow(console.one("[data-passkey-kind=get]").click)
        assert console.path() == "/account/passkeys", "goes on to where the person wanted to be"
        assert signed_in_as(console) == name

        console.send("#content form[action^='/account/passkeys/'][action$='/remove']")
        assert console.all(".notice-good"), console.text()
        assert f"Key {language}" not in console.text()
        # The authenticator still has it; the house does not take it any more.
        sign_out(console)
        console.go("/login")
        console.one("[data-passkey-kind=get]").click()
        assert wait_text(console, "#passkey-status")
        assert console.path() == "/login" and signed_in_as(console) is None

    trail = [entry["action"] for entry in Api(doors, "operator").get("/audit?limit=100")["items"]]
    assert any("passkey" in action for action in trail), trail


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_person_who_says_no_stays_outside(doors, language):
    """The authenticator does not verify its user: the page says that it failed, and nobody is signed in."""
    with window(doors, language) as console:
        options = VirtualAuthenticatorOptions(protocol=VirtualAuthenticatorOptions.Protocol.CTAP2,
                                              transport=VirtualAuthenticatorOptions.Transport.INTERNAL,
                                              has_resident_key=True, has_user_verification=True, is_user_verified=False)
        console.driver.add_virtual_authenticator(options)
        console.sign_in(doors.logins()["library-viewer"])
        console.go("/account/passkeys")
        console.one("[data-passkey-kind=create]").click()
        assert wait_text(console, "#passkey-status")
        assert console.driver.get_credentials() == []
        assert console.one("[data-passkey-kind=create]").is_enabled(), "can be tried again"


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_time_codes_guard_a_sign_in(doors, language):
    who = CODED[language]
    login = doors.logins()[who]
    with window(doors, language) as console:
        console.sign_in(login)
        console.go("/account/second")
        accessible(console.driver, "/account/second")
        totp = pyotp.TOTP(console.one("#content input[name=secret]").get_attribute("value"))
        console.fill("code", "000000" if totp.now() != "000000" else "111111")
        console.send("#content form[action='/account/second']")
        assert console.one("#content [name=code]").get_attribute("aria-invalid") == "true", console.text()
        assert console.one("#content input[name=secret]").get_attribute("value") == totp.secret, "the same secret after a wrong code"
        used = totp.now()
        console.fill("code", used)
        console.send("#content form[action='/account/second']")
        recovery = [e.text for e in console.all("#content .codes code")]
        assert len(recovery) == 8 and len(set(recovery)) == 8
        accessible(console.driver, "the recovery codes")

        def password():
            console.go("/login")
            console.fill("email", login["email"])
            console.fill("password", login["password"])
            console.send("#content form[action='/login']")
            assert console.path() == "/login/second", console.text()

        def code(text):
            console.fill("code", text)
            console.send("#content form[action='/login/second']")
            return console.path() != "/login/second"

        sign_out(console)
        password()
        accessible(console.driver, "/login/second")
        console.go("/sites")
        assert console.path() == "/login", "the password alone opens nothing"
        password()
        assert not code(used), "a code is good once (RFC 6238 section 5.2)"
        fresh = wait_for(lambda: totp.now() != used and totp.now(), STEP_S + 5, "the next time step", every=0.5)
        assert code(fresh), console.text()
        assert signed_in_as(console)

        sign_out(console)
        password()
        assert code(recovery[0]), console.text()
        sign_out(console)
        password()
        assert not code(recovery[0]), "a recovery code is good once"
        assert code(recovery[1]), console.text()

        console.go("/account/second")
        console.fill("code", recovery[2])
        console.send("#content form[action='/account/second/remove']")
        sign_out(console)
        console.sign_in(login)
        assert signed_in_as(console), "the password is enough again"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_provider_signs_in_whom_it_has_verified(doors, language):
    who, label = VOUCHED[language]
    assert doors.logins()[who]["email"] == email(who)

    def leave(console, subject):
        console.go("/login?next=/account")
        button = console.one("#content a[href^='/login/oidc']")
        assert label in button.text, button.text
        console.follow(button.click)
        assert "localhost" in console.driver.current_url and console.base not in console.driver.current_url
        console.follow(console.one(f"button[name=sub][value='{subject}']").click)

    with window(doors, language) as console:
        leave(console, f"citizen-{who}")
        assert console.path() == "/account", console.text()
        assert email(who) in console.text()
        # Again: the provider's name for the person is known now.
        sign_out(console)
        leave(console, f"citizen-{who}")
        assert console.path() == "/account", console.text()

    for subject in ("mallory", "stranger"):
        with window(doors, language) as console:
            leave(console, subject)
            assert signed_in_as(console) is None, f"{subject} must not come in"
            accessible(console.driver, "a refused sign-in")
            assert console.text().strip()
    with window(doors, language) as console:
        console.go("/login?next=/account")
        console.follow(console.one("#content a[href^='/login/oidc']").click)
        console.follow(console.one("button[name=action][value=deny]").click)
        assert signed_in_as(console) is None and "/login" in console.path()
