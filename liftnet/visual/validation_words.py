"""How the score of a validation is called, where a person reads it."""

from dataclasses import dataclass

__all__ = ["ScoreWords", "score_words"]


@dataclass(frozen=True)
class ScoreWords:
    """A score is kept so that lower is better; people know some the other way round."""

    name: str
    unit: str = ""
    higher: bool = False  # whether higher is better: the kept score is minus this one

    def value(self, score: float) -> float:
        """The number that a person is shown for a score."""
        return -score if self.higher else score

    def text(self, score: float) -> str:
        """Name, number and unit.

        >>> score_words("psnr").text(-21.163)
        'PSNR 21.16 dB'
        """
        return f"{self.name} {self.value(score):.4g} {self.unit}".rstrip()


WORDS = {
    "psnr": ScoreWords("PSNR", "dB", higher=True),
    "mae_hu": ScoreWords("MAE", "HU"),
    "mae": ScoreWords("MAE", "of the range"),
    "monitors": ScoreWords("energy distance to real volumes"),
    "reconstruction": ScoreWords("reconstruction error"),
    "error": ScoreWords("error of hidden patches"),
}


def score_words(metric: str) -> ScoreWords:
    """The words for `Validation.metric`."""
    return WORDS.get(metric, ScoreWords("score"))
