"""The browser's half of the widgets, as text: their modules share code, and a widget is one module."""

from pathlib import Path

HERE = Path(__file__).parent


def joined(*names: str) -> str:
    """Files of this folder one after the other, the shared ones first. As text, since anywidget keeps every widget for good that
    follows a file."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)
