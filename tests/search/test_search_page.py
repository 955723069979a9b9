"""The search page in a real browser, over the real service and a real Lance folder of phantoms."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from support.browser import shoot
from support.oidc_issuer import AUDIENCE, Issuer
from support.search_page import PAYLOADS, Archive, fill, hostile, network
from support.search_page_checks import CHECKS
from support.search_shown import Shown

from dicom_workflow.search.service.access import Access, LocalToken, NoAccessControl
from dicom_workflow.search.service.images import StoredImages
from dicom_workflow.search.service.oidc_tokens import OidcTokens
from dicom_workflow.search.service.server import executor_of, make_app
from dicom_workflow.search.store import open_store
from dicom_workflow.settings import Secret, Settings

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "worker_ui" / "node_modules" / "axe-core" / "axe.min.js"
TOKEN = "a token of the tests/with #signs"
PATIENTS = 30


class Service:
    """The service on a port of its own, with the store that it answers from."""

    def __init__(self, folder: Path, *, with_hostile: bool = False) -> None:
        self.store = open_store(str(folder / "store"), create=True)
        self.archive: Archive = fill(self.store, folder.parent / "phantoms", PATIENTS)
        self.hostile = hostile(self.store, self.archive) if with_hostile else []
        settings = Settings(workspace=folder)
        self.loader = StoredImages(settings)
        self.executor = executor_of(self.store, settings, network(folder.parent / "phantoms"), self.loader)
        self._servers: list[tuple[uvicorn.Server, threading.Thread]] = []
        self.url = self.start(NoAccessControl("127.0.0.1"))

    def start(self, access: Access) -> str:
        """Serve on a free port and return its address."""
        listener = socket.create_server(("127.0.0.1", 0))
        app = make_app(self.executor, access, self.loader, hosts=("127.0.0.1",))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        self._servers.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    def stop(self) -> None:
        """End all servers."""
        for server, thread in self._servers:
            server.should_exit = True
            thread.join(20)
        self.store.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    started = Service(tmp_path_factory.mktemp("search"))
    yield started
    started.stop()


@contextlib.contextmanager
def watched(browser: Any) -> Iterator[Callable[..., Any]]:
    """Make tabs; no page may throw, break its policy or ask another host."""
    contexts, complaints, hosts = [], [], set()

    def make(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(15_000)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        tab.on("request", lambda request: hosts.add(request.url.split("/")[2]) if request.url.startswith("http") else None)
        return tab

    yield make
    for context in contexts:
        context.close()
    assert complaints == []
    assert {host.split(":")[0] for host in hosts} <= {"127.0.0.1"}


@pytest.fixture
def make_tab(browser: Any) -> Iterator[Callable[..., Any]]:
    with watched(browser) as make:
        yield make


@pytest.fixture(scope="module")
def checked(browser: Any, service: Service) -> Iterator[Shown]:
    """One tab for all checks, each of which begins at the start of the page, as in a notebook."""
    with watched(browser) as make:
        tab = make()
        tab.goto(service.url)
        image = service.archive.images[5]
        path = Path(image.source.removeprefix("file://"))
        yield Shown(tab, tab.locator("#dicom-workflow-search"), service.archive, path, image.image_id)


@pytest.fixture
def tab(make_tab: Callable[..., Any], service: Service) -> Any:
    made = make_tab()
    made.goto(service.url)
    made.get_by_role("article").first.wait_for()
    return made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_web_page(checked: Shown, check: Callable[[Shown], None]) -> None:
    check(checked)


def test_addresses_hold_ids_only_and_back_returns_to_words_and_filters(tab: Any, service: Service) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    with tab.expect_response(lambda answer: "pneumothorax" in (answer.request.post_data or "")):
        tab.get_by_role("searchbox").fill("pneumothorax")
    tab.get_by_role("button", name="Pneumothorax").first.click()
    tab.locator(".chip").wait_for()
    found = tab.locator("[role=status]").first.inner_text()
    tab.get_by_role("article").first.get_by_role("link").first.click()
    tab.locator(".hit").first.wait_for()
    address = tab.url
    tab.locator(".hit").first.get_by_role("link").click()
    tab.wait_for_url(lambda url: url != address)
    tab.locator(".hit").first.wait_for()
    assert not any("neumothorax" in url for url in [*asked, tab.url, address])
    tab.go_back()
    tab.wait_for_url(address)
    tab.go_back()
    tab.locator(".chip").wait_for()
    assert tab.get_by_role("searchbox").input_value() == "pneumothorax"
    tab.get_by_role("status").filter(has_text=found).first.wait_for()
    tab.goto(address)  # as pasted by somebody else
    tab.locator(".hit").first.wait_for()
    assert service.archive.images and tab.get_by_role("application").count() == 1


def test_letters_typed_in_one_go_are_asked_once(tab: Any) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.post_data or "") if request.url.endswith("graphql") else None)
    letters = (  # in one task of the browser, so that no pause of a busy machine can come between them
        "(box, word) => { for (let end = 1; end <= word.length; end += 1) {"
        " box.value = word.slice(0, end); box.dispatchEvent(new InputEvent('input', { bubbles: true })) } }"
    )
    tab.get_by_role("searchbox").evaluate(letters, "effusion")
    tab.locator("article mark").first.wait_for()
    assert [text.count('"text":"effusion"') for text in asked] == [1]


def test_a_slow_answer_says_searching_and_never_replaces_a_later_one(tab: Any) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        if '"text":"pneumonia"' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    tab.route("**/graphql", hold)
    tab.get_by_role("searchbox").fill("pneumonia")
    tab.get_by_text("Searching…").wait_for()
    tab.get_by_role("searchbox").fill("unicorns")
    tab.get_by_text("Sorry, no results.").wait_for()
    for route in held:
        route.abort()
    time.sleep(0.3)
    assert held and tab.get_by_text("Sorry, no results.").is_visible()


def test_an_error_of_the_service_is_shown_and_can_be_tried_again(tab: Any) -> None:
    tab.route("**/graphql", lambda route: route.abort())
    tab.get_by_role("searchbox").fill("edema")
    tab.get_by_role("alert").get_by_text("cannot be reached").wait_for()
    tab.unroute("**/graphql")
    tab.get_by_role("button", name="Try again").click()
    tab.locator("article mark").first.wait_for()


def test_signing_in_with_the_printed_address_or_the_form(make_tab: Callable[..., Any], service: Service) -> None:
    url = service.start(LocalToken(Secret(TOKEN)))
    tab = make_tab()
    tab.goto(url)
    tab.get_by_role("heading", name="Sign in to search").wait_for()
    assert tab.get_by_role("article").count() == 0
    tab.get_by_label("Token").fill("another token, which is wrong")
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("alert").get_by_text("does not open the search").wait_for()
    tab.get_by_label("Token").fill(TOKEN)
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("article").first.wait_for()
    assert tab.evaluate("() => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })") == "{}"
    tab.get_by_role("button", name="Sign out").click()
    tab.get_by_role("heading", name="Sign in to search").wait_for()
    tab.reload()
    tab.get_by_role("heading", name="Sign in to search").wait_for()

    other = make_tab()
    other.goto(f"{url}#token={TOKEN.replace(' ', '%20').replace('#', '%23')}")
    other.get_by_role("article").first.wait_for()
    assert "token" not in other.url
    assert "token" not in other.evaluate("() => JSON.stringify(history.state)")


def test_signing_in_at_an_issuer_and_out(make_tab: Callable[..., Any], service: Service) -> None:
    with Issuer() as issuer:
        url = service.start(OidcTokens(issuer.url, AUDIENCE))
        tab = make_tab()
        tab.goto(url)
        tab.get_by_role("link", name="Sign in").click()
        tab.get_by_label("Name").fill("ada")
        tab.get_by_role("button", name="Go on").click()
        tab.get_by_role("article").first.wait_for()
        tab.get_by_text("Hello, Ada").wait_for()
        assert tab.url == url
        assert tab.evaluate("() => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })") == "{}"
        tab.get_by_role("button", name="Sign out").click()
        tab.get_by_role("link", name="Sign in").click()
        tab.get_by_label("Name").wait_for()
        assert [asked.get("prompt") for asked in issuer.asked] == [None, "login"]
        tab.goto(f"{url}#sign-in=denied")
        tab.get_by_role("alert").get_by_text("canceled or refused").wait_for()
        shoot(tab, "search-sign-in")
        assert tab.url == f"{url}#/"


@pytest.fixture(scope="module")
def hostile_service(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("hostile")
    started = Service(folder, with_hostile=True)
    yield started
    started.stop()


def test_twelve_payloads_make_no_node_and_run_nothing(make_tab: Callable[..., Any], hostile_service: Service) -> None:
    assert len(PAYLOADS) == len(hostile_service.hostile) == 12
    tab = make_tab()
    tab.goto(hostile_service.url)
    tab.get_by_role("article").first.wait_for()
    root = tab.locator("#dicom-workflow-search")

    def planted() -> list[int]:
        names = "script, iframe, object, math, template, textarea, [id=planted], [onload], [onerror], [onmouseover], [ontoggle]"
        foreign = root.locator(names).count() + root.locator('[href^="javascript"], img:not([src^="blob:"])').count()
        return [foreign, tab.evaluate("() => Number(window.__owned === 1)")]

    for payload in PAYLOADS:
        root.get_by_role("article").get_by_text(payload, exact=True).first.wait_for()  # it is there, as text
    for button in root.locator(".finding").all()[:12]:
        button.click()
    assert planted() == [0, 0]
    tab.get_by_role("searchbox").fill("hostile words")
    root.locator("mark").first.wait_for()
    assert planted() == [0, 0]
    for number in (0, 4, 11):
        tab.goto(f"{hostile_service.url}#/image/hostile-image-{number}")
        root.get_by_text(PAYLOADS[number], exact=True).first.wait_for()
        root.locator(".hit").first.wait_for()
        assert planted() == [0, 0]
    for number, payload in enumerate(PAYLOADS):  # as an address, opened or gone to, and as words too
        if number % 6 == 0:
            tab.goto("about:blank")
        address = "([url, id]) => { location.href = `${url}#/image/${encodeURIComponent(id)}` }"
        tab.evaluate(address, [hostile_service.url, payload])
        tab.get_by_text(f"There is no image {payload} in this index.").wait_for()
        assert planted() == [0, 0]
        tab.get_by_role("searchbox").fill(payload)
        tab.get_by_role("searchbox").press("Enter")
        tab.locator(".reports-page [role=status], .reports-page [role=alert]").first.wait_for()
        assert planted() == [0, 0]


def serious(tab: Any) -> list[str]:
    """What axe-core finds, of those that keep people out."""
    tab.locator("[aria-busy=true]").first.wait_for(state="detached")  # what is being replaced is dimmed
    tab.evaluate(AXE.read_text("utf-8"))
    found = tab.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
    return [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_everybody_can_use_it(make_tab: Callable[..., Any], service: Service, colors: str) -> None:
    if not AXE.is_file():
        pytest.skip("needs worker_ui/node_modules: npm ci there")
    tab = make_tab(color_scheme=colors, bypass_csp=True, reduced_motion="reduce")
    tab.goto(service.url)
    tab.get_by_role("article").first.get_by_role("img").first.wait_for()
    assert serious(tab) == []
    shoot(tab, f"search-reports-{colors}")
    tab.get_by_role("searchbox").fill('"cannot be excluded"')
    tab.locator("article mark").first.wait_for()
    tab.locator(".facet .bar").first.click()
    tab.locator(".chip").wait_for()
    tab.locator(".finding").first.click()
    assert serious(tab) == []
    shoot(tab, f"search-filtered-{colors}")
    tab.get_by_role("article").first.get_by_role("link").first.click()
    tab.locator(".hit img").first.wait_for()
    tab.locator(".stage canvas").wait_for()
    assert serious(tab) == []
    shoot(tab, f"search-image-{colors}")
    background = tab.locator("#dicom-workflow-search").evaluate("root => getComputedStyle(root).backgroundColor")
    assert (int(background.split("(")[1].split(",")[0]) < 128) == (colors == "dark")


def test_a_narrow_window_needs_no_sideways_scrolling(make_tab: Callable[..., Any], service: Service) -> None:
    tab = make_tab(viewport={"width": 390, "height": 844})
    too_wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    tab.goto(service.url)
    tab.get_by_role("article").first.wait_for()
    shoot(tab, "search-narrow")
    assert tab.evaluate(too_wide) <= 0
    assert not tab.locator(".facet").first.is_visible()
    tab.get_by_role("button", name="Charts and filters").click()
    tab.locator(".facet").first.wait_for()
    tab.get_by_role("article").first.get_by_role("link").first.click()
    tab.locator(".hit").first.wait_for()
    shoot(tab, "search-narrow-image", full_page=True)
    assert tab.evaluate(too_wide) <= 0
