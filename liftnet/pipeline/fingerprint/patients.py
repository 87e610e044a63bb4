"""Which cases are of one patient: they stay on one side of every fold."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from liftnet.core.errors import PlanError
from liftnet.core.names import like
from liftnet.core.storage.jsonable import from_json, read_json

__all__ = ["describe_overlap", "describe_patients", "known_patients", "patients_of"]

# Names whose scheme is published: group 1 is the patient, what follows a time point or session.
SCHEMES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(BraTS-[a-z]+-\d+)-\d{3}",  # BraTS 2023 and later
        r"(sub-[a-z0-9]+)_.+",  # BIDS
        r"(UPENN-GBM-\d+)_\d{2}",  # 11 before surgery, 21 at a follow-up
        r"(UCSF-PDGM-\d+)_FU\d+d.*",  # days of a follow-up
        r"((?:ADNI_)?\d{3}_S_\d{4})[_-].+",
        r"(OAS\d_?\d{4})_.+",  # OASIS-1 to 3
        r"(TCGA-[a-z0-9]{2}-[a-z0-9]{4})[-_.].+",
    )
)
# ours: words before or in place of a number that say "another time", as in name_t2, name-week-12
WORDS = (
    r"ses(?:s(?:ion)?)?|visit|v|time(?:point)?|tp|t|scan|rescan|retest|day|d|week|wk|w|"
    r"month|mo|m|year|yr|y|fu|follow-?up|bl|baseline|pre(?:op)?|post(?:op)?|run|date"
)
MARKED = re.compile(rf"(.+?)[-_. ](?:(?:{WORDS})[-_]?\d*|(?:19|20)\d{{6}})", re.IGNORECASE)
NUMBERED = re.compile(r"(.*\d)[-_. ](\d{1,3})")  # P012_1: a patient with a number, and a number
MOST_TIMES = 10  # ours: more time points of each patient on average are patients, as in study_t31
SHOWN = 4  # ours: enough groups to see whether they are right


def patients_of(
    cases: Iterable[str],
    given: Mapping[str, str],
    same: Iterable[tuple[str, str]] = (),
) -> dict[str, str]:
    """Case -> patient, from what dataset.json says, else from the names; own name where alone.

    Args:
        cases: the names of the cases.
        given: "patients" of dataset.json.
        same: cases that are of one patient whatever their names, since they hold the same images.
    """
    names = sorted(cases)
    patients = {**_by_name(names), **{k: v for k, v in like(given, names).items() if k in names}}
    for first, second in same:
        old, new = patients[second], patients[first]
        patients = {case: new if own == old else own for case, own in patients.items()}
    return patients


def _by_name(names: list[str]) -> dict[str, str]:
    """Case -> patient by published schemes, by words for time, or by a second number."""
    patients = {name: name for name in names}
    for name in names:
        found = next((match for s in SCHEMES if (match := s.fullmatch(name))), None)
        patients[name] = found[1] if found else name
    left = [name for name in names if patients[name] == name]
    marked = {name: match[1] for name in left if (match := MARKED.fullmatch(name))}
    several = len(set({**patients, **marked}.values())) > 1  # of mri_scan_1, mri_scan_2 one is left
    if several and len(marked) <= MOST_TIMES * len(set(marked.values())):
        patients |= marked
    numbered = {name: match for name in left if (match := NUMBERED.fullmatch(name))}
    stems = {match[1] for match in numbered.values()}
    # Of site1_001, site1_002 the second number has more values than the first: no time points.
    if len(stems) > len({match[2] for match in numbered.values()}):
        patients |= {name: match[1] for name, match in numbered.items()}
    counts = Counter(patients.values())
    return {name: own if counts[own] > 1 else name for name, own in patients.items()}


def known_patients(fingerprint: Path) -> dict[str, str]:
    """Case -> patient as a fingerprint file has them; none where it is missing or of old."""
    try:
        found = from_json(dict[str, str], read_json(fingerprint)["patients"], where="patients")
    except (PlanError, KeyError, TypeError):
        return {}
    return found


def describe_overlap(
    patients: Mapping[str, str], tests: Collection[str], given: Mapping[str, str]
) -> str | None:
    """Which new cases are of patients that are trained on; None if none is.

    Args:
        patients: training case -> patient.
        tests: the names of the new cases.
        given: "patients" of dataset.json.
    """
    everybody = patients_of({*patients, *tests}, given)
    trained = {everybody[case] for case in patients}
    both = sorted(case for case in tests if everybody[case] in trained)
    if not both:
        return None
    return (
        f"warning: {len(both)} of {len(tests)} cases in imagesTs are of patients in imagesTr, such "
        f"as {both[0]}: scores on them flatter"
    )


def describe_patients(patients: Mapping[str, str]) -> str | None:
    """How many patients there are and which have several cases; None if each has one."""
    groups = Counter(patients.values())
    several = [f"{name} ({count})" for name, count in groups.most_common() if count > 1]
    if not several:
        return None
    more = ", ..." if len(several) > SHOWN else ""
    count = f"{len(groups)} patient{'s' if len(groups) > 1 else ''}"
    return (
        f"{len(patients)} cases of {count}, split by patient: {', '.join(several[:SHOWN])}{more} "
        "(if that is wrong: 'patients' in dataset.json)"
    )
