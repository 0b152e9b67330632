"""A report's page, parsed, for tests of what is on it."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
import zlib
from contextlib import contextmanager, suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest


class Page(HTMLParser):
    """The parsed page: tags with attributes, and the text of every element by its start tag."""

    VOID = {"meta", "img", "br", "wbr", "use", "path", "link", "input"}

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.rows: list[tuple[dict, list[tuple[dict, str]]]] = []
        self.stack: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append((attrs, []))
        elif tag in ("td", "th"):
            self.rows[-1][1].append((attrs, ""))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.stack:
            while self.stack.pop() != tag:
                pass

    def handle_data(self, data):
        if "style" in self.stack:
            return
        self.words.append(data)
        if self.stack and {"td", "th"} & {*self.stack}:
            attrs, text = self.rows[-1][1][-1]
            self.rows[-1][1][-1] = attrs, text + data

    def section(self, name: str) -> str:
        at = [i for i, word in enumerate(self.words) if word == name]
        return " ".join(self.words[at[-1] :])


def scripts_of(text) -> list[str]:
    """Attributes of a page's scripts, each of which its policy must allow if it runs."""
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    policy = html.unescape(policy)
    assert policy.startswith("default-src 'none'") and policy.count("script-src") == 1
    allowed = policy.split("script-src")[1].split(";")[0].split()
    digests = [
        f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'"
        for attributes, body in scripts
        if "application/json" not in attributes
    ]
    assert allowed == digests
    return [attributes for attributes, _ in scripts]


def numbers_of(text: str, name: str) -> str:
    """The CSV that the page has of a figure."""
    packed = re.search(rf'data-name="{re.escape(name)}" data-csv="([^"]+)"', text)[1]
    return zlib.decompress(base64.b64decode(packed)).decode()


def in_a_browser(path, folder, *more) -> str:
    """The elements of a file's page after its script has run; skips the test without Chromium.

    more: further words of the browser's command.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here: the page cannot be opened")
    return subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom",
         *more, f"file://{path}"],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip


def on_a_phone(text, folder) -> tuple[int, int]:
    """Width of a page's content and of its window, where the window is 360 wide."""
    inner = json.dumps(re.sub(r"<meta http-equiv[^>]*>", "", text)).replace("</", "<\\/")
    (folder / "frame.html").write_text(
        '<body><iframe id="f" style="width:360px;height:800px;border:0"></iframe><script>'
        f"const f=document.getElementById('f');f.srcdoc={inner};"
        "f.onload=()=>{const d=f.contentDocument.documentElement;"
        "document.title=`${d.scrollWidth} of ${d.clientWidth}`}</script>"
    )
    dom = in_a_browser(folder / "frame.html", folder)
    return tuple(map(int, re.search(r"<title>(\d+) of (\d+)</title>", dom).groups()))


@contextmanager
def driven(path, folder):
    """A browser with a page, as functions: one that runs a script and returns what it answers, and
    one that presses Enter on what a CSS selector finds and returns the file that this saves. It is
    driven by chromedriver, so that the page keeps its policy; skips the test without it.
    """
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no chromedriver here: nothing can be pressed")
    files = folder / "files"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL)
    session = ""

    def ask(method, address, **body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{address}", json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def script(text):
        return ask("POST", f"{session}/execute/sync", script=text, args=[])

    def saved(selector):
        before = {*files.glob("*")}
        found = ask("POST", f"{session}/element", using="css selector", value=selector)
        ask("POST", f"{session}/element/{next(iter(found.values()))}/value", text="\ue007")
        whole = (".svg", ".csv")  # its name ends otherwise while it is written
        return waited(
            lambda: next(f for f in files.glob("*") if f not in before and f.suffix in whole)
        )

    try:
        waited(lambda: ask("GET", "/status")["ready"])
        options = {
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu",
                     "--disable-background-networking", f"--user-data-dir={folder / 'driven'}"],
            "prefs": {"download.default_directory": str(files)},
        }  # fmt: skip
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs":
                                  {"browser": "ALL"}}}  # fmt: skip
        session = f"/session/{ask('POST', '/session', capabilities=wanted)['sessionId']}"
        ask("POST", f"{session}/url", url=f"file://{path}")
        yield script, saved
        assert ask("POST", f"{session}/se/log", type="browser") == []  # nothing on the console
    finally:
        if session:
            ask("DELETE", session)
        process.terminate()
        process.wait()


def waited(found, seconds=60):
    """What a function returns once it does so without an error."""
    for _ in range(10 * seconds):
        with suppress(OSError, StopIteration):
            return found()
        time.sleep(0.1)
    raise TimeoutError(f"nothing within {seconds} s")


AXE = os.environ.get("REWIRE_AXE", "")  # axe.min.js, as `npm install axe-core` leaves it
LOOKS = [(width, dark) for width in (1400, 380) for dark in (False, True)]


def barriers(text, folder, width, dark) -> list[str]:
    """What axe-core calls a serious or critical barrier on a page of this width, light or dark.

    Skips the test without axe-core.
    """
    if not Path(AXE).is_file():
        pytest.skip("REWIRE_AXE names no axe.min.js: npm install axe-core")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    script = (
        f"<script>{Path(AXE).read_text()}</script><script>addEventListener('load', () =>"
        "axe.run({resultTypes: ['violations']}).then((r) => {"
        "const out = document.createElement('pre'); out.id = 'axe';"
        "const dark = matchMedia('(prefers-color-scheme: dark)').matches;"
        "out.textContent = JSON.stringify({dark, found: r.violations"
        ".filter((v) => ['serious', 'critical'].includes(v.impact))"
        ".map((v) => `${v.id}: ${v.nodes[0].html}`)}); document.body.append(out)}))</script>"
    )
    page = folder / "axe.html"
    at = text.rindex("</body>")
    page.write_text(text[:at] + script + text[at:])
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    dom = in_a_browser(page, folder, scheme, f"--window-size={width},900",
                       "--virtual-time-budget=60000")  # fmt: skip
    result = json.loads(html.unescape(re.search(r'<pre id="axe">(.*?)</pre>', dom, re.S)[1]))
    assert result["dark"] == dark
    return result["found"]
