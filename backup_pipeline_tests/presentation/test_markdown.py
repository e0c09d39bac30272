"""Texts of others in Markdown: shown, and nothing else."""

from __future__ import annotations

import pytest

from backup_pipeline.presentation import Table, document, texts
from backup_pipeline.presentation.markdown import bullets, markdown, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 1.5", "plain words, 1.5"),
        ("গ্রাহক", "গ্রাহক"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("![x](http://evil/x.png)", "!\\[x\\](http\u2060://evil/x.png)"),
        ("https://evil.example", "https\u2060://evil.example"),
        ("www.evil.example", "www\u2060.evil.example"),
        ("a|b", r"a\|b"),
        ("keep_within, --confirm (2)", "keep_within, --confirm (2)"),
        ("`code` **bold** _x_", r"\`code\` \*\*bold\*\* \_x\_"),
        ("# title\n- list", r"\# title\\n- list"),
        ("\x1b[2J", r"\\x1b\[2J"),
        ("&lt;", r"\&lt;"),
    ],
)
def test_a_text_is_no_markup(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_lists_and_tables_keep_their_form() -> None:
    assert bullets([]) == "none"
    assert bullets(["a\nb", "c"]) == "- a\\\\nb\n- c"
    table = Table(texts("t|t"), (("x\ny",),))
    assert markdown(document(table)) == "| t\\|t |\n|---|\n| x\\\\ny |"
