"""The reference project's administration, as a person meets it: in Chromium, on PostgreSQL and Doris."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import element_to_be_clickable, staleness_of
from selenium.webdriver.support.ui import Select, WebDriverWait

from stack import Stack
from stack.disposable import disposable_stack

ROOT = Path(__file__).parents[2]
PASSWORD = "a long password for one test run"
FACTS = """
from datetime import UTC, datetime
from apps.python_agent.models import RunFact
RunFact.objects.bulk_create(
    RunFact(run_id=n, task_id=n, agent_name=f"Zoë {n}", outcome="succeeded" if n % 2 else "failed",
            started_at=datetime(2026, 1, n, 12, 30, tzinfo=UTC), duration_ms=n * 100, tokens=n, cost="0.25")
    for n in range(1, 6)
)
"""


def manage(*arguments: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"manage.py {arguments[0]}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def servers() -> Iterator[Stack]:
    """PostgreSQL and the Doris emulator of this module's own: it fills tables that other tests want empty."""
    with disposable_stack() as stack:
        stack.up(["postgres", "doris"])
        yield stack


@pytest.fixture(scope="module")
def site(servers: Stack) -> Iterator[str]:
    """The address of the running reference project, with a superuser "ada" and five facts in Doris."""
    environment = os.environ | {
        "DBINT_STACK_DIR": str(servers.directory),
        "DJANGO_DEBUG": "1",
        "DJANGO_SECRET_KEY": "for one test run",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }
    manage("migrate_databases", environment=environment)
    manage("createsuperuser", "--noinput", "--username", "ada", "--email", "", environment=environment)
    manage("shell", "--no-imports", "--command", FACTS, environment=environment)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env=environment,
    )
    try:
        for _ in range(100):
            try:
                urlopen(address, timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, "runserver ended"
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def browser(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that is logged in."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary, "chromium is missing: python3 -m stack prerequisites --install test"
    assert driver, "chromedriver is missing: python3 -m stack prerequisites --install test"
    options = ChromeOptions()
    options.binary_location = binary
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1200,900",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    chrome = Chrome(options, Service(driver))
    try:
        chrome.get(site)
        chrome.find_element(By.NAME, "username").send_keys("ada")
        chrome.find_element(By.NAME, "password").send_keys(PASSWORD)
        follow(chrome, "[type=submit]")
        assert "Site administration" in chrome.title
        yield chrome
    finally:
        chrome.quit()


def follow(browser: Chrome, selector: str) -> None:
    """Clicks what leads to another page, and waits for that page: the click alone may return before."""
    page = browser.find_element(By.TAG_NAME, "html")
    browser.find_element(By.CSS_SELECTOR, selector).click()
    WebDriverWait(browser, 30).until(staleness_of(page))


def heading(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "h1").text


def cells(browser: Chrome, name: str) -> list[str]:
    return [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, f"#result_list .field-{name}")]


def test_an_agent_and_its_task_are_made_by_hand(browser: Chrome, site: str) -> None:
    browser.get(f"{site}/admin/python_agent/agent/add/")
    browser.find_element(By.NAME, "name").send_keys("Ångström")
    Select(browser.find_element(By.NAME, "kind")).select_by_value("manager")
    follow(browser, "[name=_save]")
    assert "was added successfully" in browser.find_element(By.CSS_SELECTOR, ".messagelist .success").text

    browser.get(f"{site}/admin/python_agent/task/add/")
    browser.find_element(By.NAME, "title").send_keys("measure the light")
    browser.find_element(By.CSS_SELECTOR, ".field-agent .select2-selection").click()
    browser.find_element(By.CSS_SELECTOR, ".select2-search__field").send_keys("Ång")
    highlighted = (By.CSS_SELECTOR, ".select2-results__option--highlighted")
    WebDriverWait(browser, 10).until(element_to_be_clickable(highlighted)).click()
    follow(browser, "[name=_save]")
    assert cells(browser, "title") == ["measure the light"]

    browser.get(f"{site}/admin/python_agent/agent/")
    assert cells(browser, "open_tasks") == ["1"]


def test_a_broken_rule_is_shown_at_the_form(browser: Chrome, site: str) -> None:
    browser.get(f"{site}/admin/python_agent/task/add/")
    browser.find_element(By.NAME, "title").send_keys("too urgent")
    priority = browser.find_element(By.NAME, "priority")
    priority.clear()
    priority.send_keys("12")
    follow(browser, "[name=_save]")
    assert "task_priority_up_to_9" in browser.find_element(By.CSS_SELECTOR, ".errorlist").text


def test_facts_are_read_from_doris_and_cannot_be_edited(browser: Chrome, site: str) -> None:
    browser.get(f"{site}/admin/python_agent/runfact/")
    assert len(cells(browser, "agent_name")) == 5
    assert not browser.find_elements(By.CSS_SELECTOR, ".addlink[href*=runfact]")

    browser.find_element(By.NAME, "q").send_keys("zoë 3")  # Doris compares bytes: the backend folds the case
    follow(browser, "#changelist-search [type=submit]")
    assert cells(browser, "agent_name") == ["Zoë 3"]

    browser.get(f"{site}/admin/python_agent/runfact/?outcome=failed")
    assert sorted(cells(browser, "agent_name")) == ["Zoë 2", "Zoë 4"]
    follow(browser, "#result_list tbody th a")
    assert heading(browser) == "View run fact"
    assert not browser.find_elements(By.NAME, "_save")
