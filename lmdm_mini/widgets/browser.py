"""The browser's half of the widgets: their modules as text, and the line on which it talks to Python.

The modules import each other, as editors, linters and tests understand them. A widget is given to the page as
one module, since a front end may not serve the files of a Python package. The line is a comm that the
*browser* opens and Python never sends on: only such messages are handed over while a cell is running (see
player.py).
"""

import re
import weakref
from collections.abc import Mapping
from pathlib import Path

import comm

HERE = Path(__file__).parent


IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


def joined(name: str) -> str:
    """A module of this folder and all that it imports as one module, whose top-level names are one space.

    As text and not as a path, since anywidget keeps every widget for good that follows a file.
    """
    parts: dict[str, str] = {}  # in the order of their imports

    def add(name: str) -> None:
        if name in parts:
            return
        text = (HERE / name).read_text(encoding="utf-8")
        for other in IMPORT.findall(text):
            add(other)
        parts[name] = EXPORT.sub("", IMPORT.sub("", text))

    add(name)
    return "\n".join(parts.values())


def styles(*names: str) -> str:
    """Style sheets of this folder, one after the other."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def hear_pages(target: str, widgets: Mapping) -> None:
    """Lets pages open lines called `target`, each to the widget of `widgets` that it names; what comes goes
    to ``widget._heard(message, buffers)``."""

    def opened(channel, message) -> None:
        widget = widgets.get(message["content"]["data"].get("widget"))
        if widget is None:  # of a kernel before a restart
            channel.close()
            return
        widget = weakref.ref(widget)

        def heard(message) -> None:
            if widget() is not None:
                widget()._heard(message["content"]["data"], message.get("buffers"))

        channel.on_msg(heard)

    comm.get_comm_manager().register_target(target, opened)
