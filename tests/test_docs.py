"""The documentation agrees with the commands; its links lead somewhere."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from liftnet.cli.main import COMMANDS, function_name
from liftnet.cli.shell import spread_values

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LISTS = ("-f", "--target", "--set", "-i", "--names", "--metrics", "--cases", "--methods")


def click_command(name: str) -> Any:
    """The parser of a command."""
    app = typer.Typer(add_completion=False)
    app.command()(getattr(import_module(f"liftnet.cli.{name}"), name))
    return typer.main.get_command(app)


def options(command: str) -> dict[str, str]:
    """Option as written -> help text, as the command has them."""
    found = {}
    for parameter in click_command(function_name(command)).params:
        words = [parameter.metavar]
        if parameter.param_type_name == "option":
            words = [*parameter.opts, *([] if parameter.is_flag else words)]
        found[" ".join(words)] = parameter.help
    return found


def documented(text: str) -> dict[str, dict[str, str]]:
    """Command -> option as written -> meaning, from the page's headings and tables."""
    sections = re.split(r"^## (\w+)$", text, flags=re.MULTILINE)[1:]
    pages = {}
    for command, section in zip(sections[::2], sections[1::2], strict=True):
        rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", section, flags=re.MULTILINE)
        pages[command] = {option.replace("\\|", "|"): meaning for option, meaning in rows}
    return pages


def test_every_option_is_documented_and_exists():
    """Commands, options, their values and their help are those of the page, no more, no less."""
    found = documented(REFERENCE.read_text(encoding="utf-8"))
    assert found.keys() == COMMANDS.keys()
    for command, rows in found.items():
        assert rows == options(command), command


def test_the_check_bites():
    """A row too many, a row too few and another value are all seen."""
    text = REFERENCE.read_text(encoding="utf-8")
    row = "| `-o DIR` | Folder for the scores. Default: that of -i. |\n"
    assert row in text
    for damaged in (row * 2, row.replace("DIR", "FILE"), ""):
        changed = text.replace(row, damaged.replace("-o", "-x", 1))
        assert documented(changed)["liftnet_evaluate"] != options("liftnet_evaluate")


def test_help_shows_every_option(monkeypatch, capsys):
    """--help prints each option and the whole of its text."""
    monkeypatch.setenv("COLUMNS", "300")
    for command in COMMANDS:
        monkeypatch.setattr("sys.argv", [command, "--help"])
        with pytest.raises(SystemExit):
            import_module(f"liftnet.cli.{function_name(command)}").main()
        printed = " ".join(capsys.readouterr().out.split())
        for written, meaning in options(command).items():
            assert written.split()[0] in printed
            assert meaning in printed


def example_lines() -> list[tuple[str, str]]:
    """(page, command line) of each liftnet command in a code block, synopses left out."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            lines = [s.removeprefix("$ ") for s in block.replace("\\\n", " ").splitlines()]
            found += [(page.name, s) for s in lines if s.startswith("liftnet_") and " [-" not in s]
    return found


@pytest.mark.parametrize(("page", "line"), example_lines())
def test_examples_are_accepted(page, line):
    """Every command line in a code block of the documentation parses."""
    name, *arguments = shlex.split(line, comments=True)
    if name not in COMMANDS:  # a folder such as liftnet_workspace/
        assert "/" in name
        return
    parser = click_command(function_name(name))
    parser.make_context(name, spread_values(arguments, LISTS))


def test_links_lead_somewhere():
    """Every relative link of a page points to a file or folder of the repository."""
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_tree_is_complete():
    """The layout in README.md names every folder of the package."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("## Layout")[1]
    for path in (ROOT / "liftnet").glob("*/__init__.py"):
        assert f"{path.parent.name}/" in tree
    for command in COMMANDS:
        assert f"`{command}`" in text
