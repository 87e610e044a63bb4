"""Text of tables and lists for the terminal."""

import pytest

from liftnet.host.text_table import aligned, first_names, number_or_dash, say_wrapped


def test_columns_begin_below_one_another():
    """The widest cell of a column sets where the next one begins; no line ends in spaces."""
    rows = [["", "value", "n"], ["psnr", "31.25", "4"], ["delta_z", "1", ""]]
    assert aligned(rows) == ["         value  n", "psnr     31.25  4", "delta_z  1"]
    with pytest.raises(ValueError, match="shorter"):
        aligned([["a", "b"], ["c"]])


def test_lists_and_numbers():
    """All names where they are few; four digits that count, or a dash."""
    assert first_names(["a", "b"], 2) == "a, b"
    assert first_names(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert (number_or_dash(1234.56), number_or_dash(0.012345), number_or_dash(None)) == (
        "1235",
        "0.01235",
        "-",
    )


def test_wrapped_at_spaces(capsys):
    """Words and paths stay whole."""
    say_wrapped("a/long-path/to-a-file is kept", 10)
    assert capsys.readouterr().out.splitlines() == ["a/long-path/to-a-file", "is kept"]
