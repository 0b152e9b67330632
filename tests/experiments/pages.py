"""A report's page, parsed, for tests of what is on it."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

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


def in_a_browser(path, folder) -> str:
    """The elements of a file's page after its script has run; skips the test without Chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here: the page cannot be opened")
    return subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom",
         f"file://{path}"],
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
