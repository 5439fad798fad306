"""A prompt as the tokens the model will read, and what is worth knowing about them. HTML and words; no widgets."""

from __future__ import annotations

from sway_dash.backends.tokenizer_file import Cut, TokenizerFile
from sway_dash.figures.theme import count, esc, token_text

SHOWN = 400
"""Tokens drawn; of a longer prompt the end, which the model reads last."""


def chips(cut: Cut) -> str:
    """HTML of tokens: spaces at the ends as a dot, line breaks as a sign, special tokens marked."""
    left = max(0, len(cut.tokens) - SHOWN)
    lead = f'<span class="sway-caption">{count(left, "token")} before … </span>' if left else ""
    parts = []
    for token in cut.tokens[left:]:
        kind = "sway-chip sway-special" if token.special else "sway-chip"
        what = "special token" if token.special else "token"
        parts.append(f'<span class="{kind}" title="{what} {token.id}">{esc(token_text(token.text))}</span>')
    return f'<div class="sway-chips">{lead}{"".join(parts)}</div>'


def warnings(text: str, cut: Cut, file: TokenizerFile, context: int) -> list[str]:
    """What a reader should know about a prompt's tokens, one sentence each."""
    found = []
    written = file.specials(text)
    if cut.second_start:
        found.append(
            f"The text begins with {file.start} and the tokenizer adds one of its own; the second is left out."
        )
    if text != text.rstrip(" \t"):
        found.append(
            "It ends with a space. Most tokenizers put the space before the next word, so the model is asked for a"
            " continuation it has hardly seen: leave the space out unless that is what you want to measure."
        )
    if file.has_template and not written:
        found.append(
            "The model comes with a chat template. The prompt is sent as it stands, without the template; to measure a"
            " chat turn, write the template's tokens into the prompt."
        )
    if context and len(cut.tokens) > context:
        found.append(
            f"It has {len(cut.tokens):,} tokens and the model reads {context:,}: the first"
            f" {len(cut.tokens) - context:,} are left out."
        )
    if not cut.tokens:
        found.append("It has no tokens, so it cannot be measured.")
    return found


def said(cut: Cut, file: TokenizerFile) -> str:
    """One line on how many tokens there are and whether the model's start token is among them."""
    specials = [t.text for t in cut.tokens if t.special]
    start = f"{file.start} first" if file.start and specials[:1] == [file.start] else "no start token is put in front"
    return f"{count(len(cut.tokens), 'token')}; {start}"
