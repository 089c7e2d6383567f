"""Pages that show files of the project's root, with their links rewritten."""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

SHOWN = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
LINKS = {
    "](docs/reference/index.md)": "](reference/index.rst)",
    "](docs/": "](",
    "](README.md)": "](getting_started.md)",
    "](CONTRIBUTING.md)": "](contributing.md)",
    "](CHANGELOG.md)": "](changelog.md)",
}
"""Links as they stand in the files, and on the site."""


def show_root_file(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the source of a page by that of the file."""
    if docname in SHOWN:
        path = Path(app.srcdir).parent / SHOWN[docname]
        app.env.note_dependency(str(path))
        text = path.read_text("utf-8")
        for link, rewritten in LINKS.items():
            text = text.replace(link, rewritten)
        source[0] = text


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", show_root_file)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
