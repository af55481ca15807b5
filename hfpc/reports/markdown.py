"""Markdown that others wrote, as HTML that can do no harm."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def markdown(text: str, below: int = 2) -> "Markup":
    """CommonMark with tables as HTML.

    Raw HTML is shown as text, links lead only where a browser may safely go, and pictures, which
    would be loaded from elsewhere, become links.

    Args:
        text: Markdown; YAML front matter is left out.
        below: Level of the heading that the text stands under; its own headings go below that.
    """
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(_FRONT_MATTER.sub("", text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + below)}"
    html: str = parser.renderer.render(tokens, parser.options, {})
    html = html.replace("<table>", '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>')
    # Raw HTML is escaped and tables are never nested: both tags can only be the renderer's own.
    return Markup(html.replace("</table>", "</table></div>"))  # noqa: S704
