"""Fixtures: one sandbox for the tests that only use it, one of their own for those that break it."""

import shutil
import tempfile
from pathlib import Path

import pytest

from country import Country


def pytest_configure(config):
    # What the peers say of their own future is not about us.
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:(authlib|oidc_provider_mock|aiosmtpd|moto|werkzeug).*")


@pytest.fixture(scope="session")
def country():
    directory = Path(tempfile.mkdtemp(prefix="civicnet-e2e-"))
    country = Country(directory / "var").start()
    yield country
    code = country.stop()
    shutil.rmtree(directory, ignore_errors=True)
    assert code == 0, f"Ctrl-C ended the sandbox with {code}"


@pytest.fixture
def fragile(tmp_path):
    """A sandbox that the test may break."""
    country = Country(tmp_path / "var").start()
    yield country
    country.stop()
