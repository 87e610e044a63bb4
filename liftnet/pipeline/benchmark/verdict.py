"""Which method to choose, in sentences: the best, those like it, the cheapest of these."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from liftnet.core.benchmark import BenchmarkRow
from liftnet.core.comparison import MetricComparison
from liftnet.core.scores import AVERAGE, CaseScore, MetricSummary
from liftnet.host.text_table import counted
from liftnet.metrics.catalogue import digits_of, direction, short_name
from liftnet.metrics.paired import (
    LEVEL_OF_SIGNIFICANCE,
    better_sign,
    compared,
    is_shown,
    smallest_p,
)
from liftnet.pipeline.compare.results import FEW_CASES, compare_rows
from liftnet.pipeline.compare.table import encode_p
from liftnet.pipeline.evaluate.table import summarize
from liftnet.pipeline.report.benchmark_table import overall

__all__ = ["Verdict", "find_verdict"]

# What the main metric does not see: PSNR rewards smooth images, and looks at each slice alone.
SHARPNESS = "sharpness_in_plane"
OTHERS = (SHARPNESS, "delta_z_mae")
ALIKE = 0.2  # ours: times that differ by less may be the other way round on another day


@dataclass(frozen=True)
class Ranking:
    """The rows of a benchmark in one metric, the others beside the best."""

    best: str
    table: MetricComparison  # differences are those of the others from the best
    tests: int  # for which p is corrected

    @property
    def cases(self) -> int:
        """The fewest of any pair."""
        return min(found.n for found in self.table.differences.values())

    @property
    def needed(self) -> int:
        """The fewest cases with which any corrected p can be small."""
        n = 2
        while self.tests * smallest_p(n) >= LEVEL_OF_SIGNIFICANCE:
            n += 1
        return n

    @property
    def tells(self) -> bool:
        """Whether there are enough cases to show a difference at all."""
        return self.cases >= self.needed

    def alike(self) -> list[str]:
        """The rows that are not shown to be worse."""
        return [name for name, found in self.table.differences.items() if not is_shown(found)]

    def text(self, name: str) -> str:
        """The mean of a row, with its unit."""
        means = self.table.means
        digits = digits_of(self.table.metric, [found.mean for found in means.values()])
        return f"{means[name].mean:.{digits}f} {self.table.unit}".rstrip()


class Verdict(NamedTuple):
    """The best row and those that no test tells from it; all of it in sentences."""

    best: str
    alike: tuple[str, ...]
    sentences: tuple[str, ...]


def find_verdict(
    rows: Sequence[BenchmarkRow], scores: Mapping[str, Sequence[CaseScore]], main: Sequence[str]
) -> Verdict:
    """What a benchmark says, most important first.

    Args:
        rows: what each costs.
        scores: name of a row -> its scores, of the same images in the same order.
        main: the metrics, the first of which ranks.
    """
    ranking = _rank(scores, main[0])
    if ranking is None:
        words = f"Which value of {short_name(main[0])} is the better one is not known."
        return Verdict("", (), (words,))
    by_name = {row.name: row for row in rows}
    like = [by_name[name] for name in ranking.alike()]
    sentences = (
        *_floor(ranking, rows),
        *_best(ranking, like),
        _choice(ranking, by_name[ranking.best], like),
        *_contradictions(scores, ranking.best, main[0]),
    )
    return Verdict(ranking.best, tuple(ranking.alike()) if ranking.tells else (), sentences)


def _rank(scores: Mapping[str, Sequence[CaseScore]], metric: str) -> Ranking | None:
    """The rows by a metric, over the average of contrasts or the first of them.

    None where they lack it, or it is not known which value is better.
    """
    own = {name: _only(rows, metric) for name, rows in scores.items()}
    better = direction(metric)
    sign = better_sign(better)
    if not sign or not all(own.values()):
        return None
    summaries = {name: summarize(rows) for name, rows in own.items()}
    means = {name: _overall_mean(found, metric) for name, found in summaries.items()}
    values = compared(list(means.values()), better).tolist()
    best = max(zip(values, means, strict=True), key=lambda pair: sign * pair[0])[1]
    results = compare_rows({best: own.pop(best), **own})
    return Ranking(best, overall(results, metric)[0], sum(len(r.differences) for r in results))


def _only(rows: Sequence[CaseScore], metric: str) -> list[CaseScore]:
    """The rows with this metric alone, of those that have it."""
    return [replace(r, metrics={metric: r.metrics[metric]}) for r in rows if metric in r.metrics]


def _overall_mean(summary: Mapping[str, Mapping[str, MetricSummary]], metric: str) -> float:
    """The mean of the average over contrasts, or of the first contrast where there is none."""
    return summary.get(AVERAGE, next(iter(summary.values())))[metric].mean


def _floor(ranking: Ranking, rows: Sequence[BenchmarkRow]) -> Iterator[str]:
    """The first thing to say, where training has gained nothing over a closed form."""
    forms = [row.name for row in rows if row.closed_form]
    shared = [name for name in ranking.alike() if name in forms]
    if ranking.best in forms and len(forms) < len(rows):
        yield (
            f"No trained method is better than {ranking.best}, a closed form that is fitted in "
            "seconds: the budget is too small to compare methods."
        )
    elif shared and ranking.tells and ranking.best not in forms:
        yield (
            f"No method is shown to be better than {shared[0]}, a closed form that is fitted in "
            "seconds: the budget, or the number of cases, is too small to tell methods apart."
        )


def _best(ranking: Ranking, like: Sequence[BenchmarkRow]) -> Iterator[str]:
    """Which is best, and which are not distinguishable from it."""
    table, n = ranking.table, ranking.cases
    name = short_name(table.metric)
    averaged = table.contrast == AVERAGE
    where = f"{name}, averaged over contrasts" if averaged else f"{name} of {table.contrast}"
    yield (
        f"{ranking.best} is best in {where}: {ranking.text(ranking.best)} on {counted(n, 'case')}."
    )
    if not ranking.tells:
        yield (
            f"{counted(n, 'case')} cannot show a difference between methods: with "
            f"{counted(ranking.tests, 'test')}, {ranking.needed} or more are needed."
        )
        return
    tested = f"paired tests, Holm-corrected, n = {n}"
    if like:
        verb = "is" if len(like) == 1 else "are"
        names = _listed([row.name for row in like])
        yield f"{names} {verb} not distinguishable from it ({tested}, p > 0.05)." + (
            f" {n} cases cannot show small differences." if n < FEW_CASES else ""
        )
        return
    most = encode_p(max(found.p_holm for found in table.differences.values())).split(" ")[0]
    p = f"p < {most[1:]}" if most.startswith("<") else f"p = {most} at most"
    others = len(table.differences)
    than = "the other" if others == 1 else f"each of the {others} others"
    yield f"It is better than {than} ({tested}, {p})."


def _choice(ranking: Ranking, best: BenchmarkRow, like: Sequence[BenchmarkRow]) -> str:
    """What to choose of the best and those like it: what costs least."""
    if not ranking.tells:
        return (
            f"By the means alone, choose {best.name}; with more cases a cheaper one may turn out "
            "to be as good."
        )
    if not like:
        return f"Choose {best.name}."
    rows = [best, *like]
    run = _cheapest(rows, lambda row: row.prediction.seconds)
    train = _cheapest(rows, lambda row: row.training.seconds)
    runs = f"makes a volume in the least time ({_time(run.prediction.seconds)})" if run else ""
    trains = f"trains in the least time ({_time(train.training.seconds)})" if train else ""
    if train and train.closed_form:
        trains = "takes no training steps"
    if run and train and run != train:
        return (
            f"Of these, {run.name} {runs}, and {train.name} {trains}: choose the first where there "
            "is much to predict, the second where there is much to train."
        )
    chosen = run or train
    if chosen is None:
        return f"They cost about the same: choose {best.name}."
    return f"Of these, choose {chosen.name}, which {' and '.join(filter(None, (trains, runs)))}."


def _cheapest(
    rows: Sequence[BenchmarkRow], cost: Callable[[BenchmarkRow], float | None]
) -> BenchmarkRow | None:
    """The row that costs least; None if that is not known, or all cost about the same."""
    known = [(value, row) for row in rows if (value := cost(row)) is not None]
    if len(known) < len(rows):
        return None
    most, (least, row) = max(value for value, _ in known), min(known, key=lambda pair: pair[0])
    return None if most - least <= ALIKE * most else row


def _time(seconds: float | None) -> str:
    """A duration, to three digits.

    >>> _time(0.01234), _time(93.4), _time(7300.0)
    ('0.0123 s', '93.4 s', '2.03 h')
    """
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds and seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _contradictions(
    scores: Mapping[str, Sequence[CaseScore]], best: str, main: str
) -> Iterator[str]:
    """Where another method is better in what the main metric does not see."""
    for metric in OTHERS:
        ranking = _rank(scores, metric)
        if metric == main or ranking is None or ranking.best == best:
            continue
        found = ranking.table.differences[best]
        same = ranking.text(ranking.best) == ranking.text(best)
        if same or (ranking.tells and not is_shown(found)):
            continue
        by = "" if ranking.tells else "by the means "
        yield (
            f"But {by}{ranking.best} is better than {best} in {short_name(metric)}: "
            f"{ranking.text(ranking.best)}, not {ranking.text(best)}"
            + (", where 1 is the detail of the reference." if metric == SHARPNESS else ".")
        )


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence; semicolons where a name has a comma.

    >>> _listed(["a", "b", "c"]), _listed(["a, mean of 5", "b"])
    ('a, b and c', 'a, mean of 5; and b')
    """
    *first, last = names
    if not first:
        return last
    return (
        f"{'; '.join(first)}; and {last}"
        if "," in "".join(names)
        else f"{', '.join(first)} and {last}"
    )
