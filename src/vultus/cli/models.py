"""``vultus models``: which face models there are, which are here, and how to get the others."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from ..model.catalog import ModelCard, known_models

DESCRIPTION = """The face models that vultus can use: installed or not, licence, how to get each.

Examples:
  vultus models
  vultus reconstruct anna.jpg -o out --model ict:/data/ict
  VULTUS_ICT=/data/ict vultus reconstruct anna.jpg -o out --model ict"""


@dataclass(frozen=True)
class Models:
    """Face models: installed or not, licence, how to get each."""

    def run(self) -> int:
        """Print the table."""
        print(table(known_models()))
        return 0


def table(cards: tuple[ModelCard, ...]) -> str:
    """Model cards as text, one paragraph of how-to under each model that is missing."""
    rows = [("model", "installed", "licence", "what")]
    rows += [(card.name, "yes" if card.installed else "no", card.licence, card.title) for card in cards]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines: list[str] = []
    for row, card in zip(rows, (None, *cards)):
        lines.append("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]))
        if card is None or card.installed:
            where = None if card is None or card.path is None else f"at {card.path}"
        else:
            where = f"not found at {card.path}; {card.how_to_get}" if card.path else card.how_to_get
        if where:
            lines += textwrap.wrap(
                where, 96, initial_indent="    ", subsequent_indent="    ", break_long_words=False
            )
    return "\n".join(lines)
