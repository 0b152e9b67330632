"""A report's page, parsed, for tests of what is on it."""

from html.parser import HTMLParser


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
