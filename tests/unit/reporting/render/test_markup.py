"""Names from outside cannot break a table."""

from __future__ import annotations

import pytest

from samis.reporting.render.markup import escape_latex, escape_markdown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (r"a\b", r"a\textbackslash{}b"),
        ("50% & $x_1^2$ #~{}", r"50\% \& \$x\_1\textasciicircum{}2\$ \#\textasciitilde{}\{\}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("two\nlines", "two lines"),
        ("↑ –", r"$\uparrow$ --"),
    ],
)
def test_latex(text, safe):
    assert escape_latex(text) == safe


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script>"),
        ("sd_saliency_900", "sd_saliency_900"),
        ("_emphasis_ *bold* `code` [link](x)", r"\_emphasis\_ \*bold\* \`code\` \[link\](x)"),
        ("a\nb", "a b"),
        ("R&D &lt;", "R&amp;D &amp;lt;"),
    ],
)
def test_markdown(text, safe):
    assert escape_markdown(text) == safe
