"""CSV files: no name is a formula, and every name comes back."""

import csv
import io

import pytest

from liftnet.host.spreadsheet import as_csv, read_csv

NAMES = ["=1+1", "+a", "-a", "@SUM(A1)", "\ta", "\ra", "'=a", "''-", "'a", "a=b", "a,b", '"a"', ""]


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_and_are_no_formula(name):
    """In the first line too; a spreadsheet takes what begins with an apostrophe for text."""
    text = as_csv([["case", name], [name, -0.5]])
    first, row = csv.reader(io.StringIO(text, newline=""))
    for cell in (first[1], row[0]):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert row[1] == "-0.5"  # numbers stay numbers
    assert list(read_csv(io.StringIO(text, newline=""))) == [{"case": name, name: "-0.5"}]
