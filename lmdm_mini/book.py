"""The book as web pages: every notebook to HTML, with its figures and sounds, the package's reference, and an
index.

`make book` runs it. Nothing is executed: pages show the outputs the notebooks were saved with. It exists
because nbconvert alone leaves links between chapters pointing at `.ipynb` files, which a browser does not
show. Built in no notebook.
"""

import argparse
import html
import importlib
import pkgutil
import re
import sys
import warnings
from pathlib import Path
from typing import cast

import nbformat
from nbconvert import HTMLExporter

import lmdm_mini

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>LMDM-mini</title>
<body style="font-family: sans-serif; max-width: 40em; margin: 2em auto; line-height: 1.6">
<h1>LMDM-mini</h1>
<p>Live music diffusion models, small enough to read.</p>
<ol start="0">
{chapters}
</ol>
{reference}
</body></html>
"""


def title_of(notebook: nbformat.NotebookNode) -> str:
    """The first heading of a notebook, without its `#`. ValueError if it does not start with one."""
    first = notebook.cells[0].source.splitlines()[0] if notebook.cells else ""
    if not first.startswith("# "):
        raise ValueError("A notebook starts with its title, a cell whose first line is '# Title'.")
    return first[2:].strip()


def link_pages(page: str, names: set[str]) -> str:
    """`page` with links to the notebooks `names` (file names) turned into links to their HTML pages."""

    def to_html(match: re.Match) -> str:
        name, anchor = match["name"], match["anchor"]
        return f'href="{name.removesuffix(".ipynb")}.html{anchor}"' if name in names else match[0]

    return re.sub(r'href="(?:\./)?(?P<name>[\w.-]+\.ipynb)(?P<anchor>(?:#[^"]*)?)"', to_html, page)


def make_reference(output: Path) -> Path | None:
    """Writes a page for every module of the package, from its docstrings, into `output`; returns the first
    page, or None where pdoc, which makes them, is not installed."""
    try:
        import pdoc
    except ModuleNotFoundError:
        print("No reference pages: they need pdoc, which `make book` installs.")
        return None
    names = [module.name for module in pkgutil.walk_packages(lmdm_mini.__path__, "lmdm_mini.")]
    names = [name for name in names if not name.endswith("__main__")]
    for name in names:  # pdoc imports with parts of the system switched off, which torch does not like
        importlib.import_module(name)
    with warnings.catch_warnings():  # of the public names, which are found only when they are asked for
        warnings.simplefilter("ignore")
        pdoc.pdoc("lmdm_mini", *names, output_directory=output)
    print(f"{output}  {len(list(output.rglob('*.html')))} pages of reference")
    return output / "lmdm_mini.html"


def make_book(
    source: Path = NOTEBOOKS, output: Path = Path("book"), reference: Path | None = None
) -> list[Path]:
    """Writes one HTML page per notebook of `source`, and `index.html`, into `output`; returns the pages.
    reference: the first page of the package's reference, inside `output`, for a link to it.

    FileNotFoundError if `source` holds no notebooks.
    """
    paths = sorted(source.glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(f"No notebooks found in {source}: run this in a full copy of the project.")
    output.mkdir(parents=True, exist_ok=True)
    exporter = HTMLExporter()
    names = {path.name for path in paths}
    pages, chapters = [], []
    for path in paths:
        notebook = cast(nbformat.NotebookNode, nbformat.read(path, as_version=4))
        page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title_of(notebook)}})
        target = output / f"{path.stem}.html"
        target.write_text(link_pages(page, names), encoding="utf-8")
        pages.append(target)
        chapters.append(f'<li><a href="{target.name}">{html.escape(title_of(notebook))}</a></li>')
        print(f"{target}  {target.stat().st_size / 1e6:.1f} MB")
    link = reference and reference.relative_to(output).as_posix()
    line = f'<p><a href="{link}">Reference of the package</a></p>' if link else ""
    index = output / "index.html"
    index.write_text(INDEX.format(chapters="\n".join(chapters), reference=line), encoding="utf-8")
    print(f"Open {index} in a browser.")
    return [index, *pages]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lmdm_mini.book", description="Notebooks to web pages.")
    parser.add_argument("--output", type=Path, default=Path("book"), help="folder for the pages (book)")
    try:
        output = parser.parse_args().output
        make_book(output=output, reference=make_reference(output / "reference"))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
