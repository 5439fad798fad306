"""What an adapter turned over: preferences that were right or wrong before, and are right or wrong after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sway_dash.core.grouped import independent_worth, mcnemar_groups, net_ci
from sway_dash.core.rates import wilson


@dataclass(frozen=True, slots=True)
class Table:
    """Paired counts of one way to take the margin; ties at the base are in none of them.

    Several triples of one prompt tend to turn together: ``fixing`` and ``damaging`` are so many of so many independent
    ones that the wrong ones set right and the right ones set wrong are worth, ``net_ci`` is the interval of the net
    share set right, of as many as all of them are worth. ``p`` is McNemar's of as many set right as wrong, with whole
    prompts for its changes: ``turned`` of them turned more one way than the other.
    """

    kept_right: int
    fixed: int
    damaged: int
    kept_wrong: int
    fixing: tuple[float, int]
    damaging: tuple[float, int]
    turned: int
    p: float
    net_ci: tuple[float, float] | None

    @staticmethod
    def of(base: Sequence[float], tuned: Sequence[float], prompts: Sequence[str]) -> Table:
        """Count margins: right above 0, wrong below; a tie of the tuned view is not right."""
        rows = [(b > 0, t > 0, p) for b, t, p in zip(base, tuned, prompts, strict=True) if b != 0]
        before, after, groups = [b for b, _, _ in rows], [t for _, t, _ in rows], [p for _, _, p in rows]
        wrong = [(t, p) for b, t, p in rows if not b]
        right = [(not t, p) for b, t, p in rows if b]
        fixed, damaged = (sum(hit for hit, _ in side) for side in (wrong, right))
        p, changed = mcnemar_groups(before, after, groups)
        return Table(
            kept_right=len(right) - damaged,
            fixed=fixed,
            damaged=damaged,
            kept_wrong=len(wrong) - fixed,
            fixing=_worth(wrong),
            damaging=_worth(right),
            turned=changed,
            p=p,
            net_ci=net_ci(before, after, groups),
        )

    @property
    def base_wrong(self) -> int:
        """Triples the base has wrong."""
        return self.fixed + self.kept_wrong

    @property
    def base_right(self) -> int:
        """Triples the base has right."""
        return self.damaged + self.kept_right

    @property
    def n(self) -> int:
        """All triples in the table."""
        return self.base_wrong + self.base_right

    def facts(self) -> dict[str, Any]:
        """Counts, rates and their intervals, JSON-ready."""
        return {
            "base_right": self.base_right,
            "base_wrong": self.base_wrong,
            "kept_right": self.kept_right,
            "flipped": self.fixed,
            "damaged": self.damaged,
            "kept_wrong": self.kept_wrong,
            "flip_rate": rate(self.fixed, self.base_wrong),
            "flip_rate_ci_95": wilson(*self.fixing),
            "damage_rate": rate(self.damaged, self.base_right),
            "damage_rate_ci_95": wilson(*self.damaging),
            "net_flip_rate": rate(self.fixed - self.damaged, self.n),
            "net_flip_rate_ci_95": self.net_ci,
            "mcnemar_p": self.p,
        }


def _worth(flags: Sequence[tuple[bool, str]]) -> tuple[float, int]:
    return independent_worth([hit for hit, _ in flags], [prompt for _, prompt in flags])


def rate(k: int, n: int) -> float | None:
    """``k / n``; ``None`` of nothing."""
    return k / n if n else None
