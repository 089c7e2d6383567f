"""Parser of HTML pages."""

from html.parser import HTMLParser

from plotly.offline import get_plotlyjs

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, text and table rows of a page, which must be nested correctly."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.text, self.rows, self.json = [], [], [], [], []
        # plotly.js is slow to parse, and not under test.
        self.feed(html.replace(get_plotlyjs(), ""))
        self.close()
        assert not self.open, f"left open: {self.open}"
        self.said = " ".join("".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            if self.elements[-1][1].get("type") == "application/json":
                self.json.append(data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] += data

    def tags(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def figures(self):
        return [attrs for attrs in self.tags("div") if attrs.get("class") == "figure"]
