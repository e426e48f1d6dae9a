"""The browser's half of the widgets: their modules as text, and the line on which it talks to Python.

Modules share code, and a widget is one module. The line is a comm that the *browser* opens and Python never
sends on: only such messages are handed over while a cell is running (see player.py).
"""

import weakref
from collections.abc import Mapping
from pathlib import Path

import comm

HERE = Path(__file__).parent


def joined(*names: str) -> str:
    """Files of this folder one after the other, the shared ones first. As text, since anywidget keeps every
    widget for good that follows a file."""
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
