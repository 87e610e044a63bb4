"""`liftnet` and `python -m liftnet`: the list of commands, and a way to call them."""

import os
import sys
from difflib import get_close_matches
from importlib import import_module

from liftnet.cli.streams import open_streams
from liftnet.version import __version__

__all__ = ["COMMANDS", "function_name", "liftnet"]

COMMANDS = {
    "liftnet_doctor": "say what works on this machine, and what to do about the rest",
    "liftnet_demo": "make a small dataset and run every step on it",
    "liftnet_convert": "bring BraTS, SynthRAD or plain folders into liftnet's raw format",
    "liftnet_download": "fetch weights of a network that was trained elsewhere",
    "liftnet_plan_and_preprocess": "the next three commands in one",
    "liftnet_extract_fingerprint": "measure a raw dataset, and check it",
    "liftnet_plan": "decide everything from the fingerprint and the GPU memory",
    "liftnet_preprocess": "crop, normalize, resample and store the training cases",
    "liftnet_methods": "list the methods that can be planned, trained and compared",
    "liftnet_train": "train folds; the same command continues a stopped run",
    "liftnet_predict": "synthesize absent images for new files, or generate volumes",
    "liftnet_evaluate": "score images against references, or generated volumes",
    "liftnet_compare": "two or more methods on the same images: paired differences",
    "liftnet_benchmark": "several methods at an equal budget: trained, compared, which to choose",
    "liftnet_report": "one HTML page of an evaluation or comparison, to look at offline",
    "liftnet_export": "one file of a trained model that can be given away, with a model card",
    "liftnet_import": "check such a file, and predict with it here",
    "liftnet_probe": "look for copies of training volumes among predicted ones",
}

OTHER_NAMES = {  # a keyword of Python, and a folder of this package
    "import": "import_model",
    "methods": "list_methods",
}


def function_name(command: str) -> str:
    """The function of a command, and the module that it lies in: its name without `liftnet_`.

    >>> function_name("liftnet_train"), function_name("liftnet_import")
    ('train', 'import_model')
    """
    name = command.removeprefix("liftnet_")
    return OTHER_NAMES.get(name, name)


def liftnet() -> None:
    """Print the commands in the order in which they are used, or the version; or run one.

    `liftnet train -d 1` and `python -m liftnet train -d 1` are `liftnet_train -d 1`.
    """
    open_streams()
    words = sys.argv[1:]
    if words and words[0] not in ("-h", "--help", "--version"):
        sys.exit(_run(words[0], words[1:]))
    text = f"liftnet {__version__}"
    if words[:1] != ["--version"]:
        lines = [f"  {name:<30}{COMMANDS[name]}" for name in COMMANDS]
        text += ": self-configuring 3D medical image synthesis\n\n" + "\n".join(lines)
        text += "\n\nEach command explains itself with --help."
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(verb: str, words: list[str]) -> int:
    """Run a command that is named without its prefix; 2 if there is none, else it ends itself."""
    verbs = [name.removeprefix("liftnet_") for name in COMMANDS]
    asked = verb.replace("-", "_").removeprefix("liftnet_")
    if asked in verbs:
        command = f"liftnet_{asked}"
        sys.argv = [command, *words]
        import_module(f"liftnet.cli.{function_name(command)}").main()
    near = get_close_matches(asked, verbs, n=1)
    remedy = f"Call liftnet_{near[0]}." if near else "Call liftnet alone, which lists all."
    print(f"error: There is no command {verb}\n  do:    {remedy}", file=sys.stderr)
    return 2
