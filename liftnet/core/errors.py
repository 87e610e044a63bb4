"""Errors that a user can meet: what is wrong, where, and what to do about it."""

__all__ = ["CheckpointError", "DatasetError", "GeometryError", "LiftnetError", "PlanError"]


class LiftnetError(Exception):
    """A problem that the user can solve; the command line prints it and exits with code 1.

    >>> print(LiftnetError("No case found", where="imagesTr", remedy="Put images there."))
    No case found
      where: imagesTr
      do:    Put images there.
    """

    def __init__(self, problem: str, *, where: str | None = None, remedy: str | None = None):
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.problem]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  do:    {self.remedy}")
        return "\n".join(lines)


class DatasetError(LiftnetError):
    """The raw dataset or a folder of new images is not usable as it is."""


class PlanError(LiftnetError):
    """A plan, fingerprint or other JSON file of liftnet does not fit."""


class GeometryError(LiftnetError):
    """Images do not lie on the grid they must lie on."""


class CheckpointError(LiftnetError):
    """Trained weights are missing, damaged or belong to another plan."""
