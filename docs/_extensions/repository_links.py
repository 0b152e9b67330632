"""Links of a page to files of the repository that are no pages: named on the site, not linked.

The pages are also read on the forge, where ``[tests](../tests)`` is a link; the site has no such
file.
"""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((?:\.\./)+([^)\s]+)\)")


def without(text: str) -> str:
    """Markdown in which links out of the folder are their text and the path.

    >>> without("see [tests](../tests/measures), [`a.json`](../b/a.json)")
    'see tests (`tests/measures`), `a.json` (`b/a.json`)'
    """
    return _OUTSIDE.sub(
        lambda m: m[1] if m[2].endswith(m[1].strip("`")) and m[1] == f"`{m[2]}`" else
        f"{m[1]} (`{m[2]}`)", text,
    )  # fmt: skip


def read(app: Any, page: str, source: list[str]) -> None:
    if str(app.env.doc2path(page)).endswith(".md") and "/" not in page:
        source[0] = without(source[0])


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
