"""The house: imports point down one list of floors, and modules do not go round in circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "lmdm_mini"
FLOORS = (  # from the ground up: a module imports from its own floor and from those below it
    {"checks", "files", "forked", "lazy", "modes"},
    {"audio", "checkpoints", "musical", "training"},
    {"corpus"},
    {"codec"},
    {"conditioning"},
    {"transformer"},
    {"latents", "precision", "streaming"},
    {"diffusion", "discrete"},
    {"models"},
    {"live"},
    {"complexity"},
    {"evaluation"},
    {"widgets"},
    {"commands"},
    {"book", "__init__", "__main__"},
)
STRANGERS = {
    ("diffusion", "discrete"),
    ("discrete", "diffusion"),
    ("latents", "streaming"),
    ("streaming", "latents"),
}


def floor_of(module: str) -> int:
    room = module.removeprefix("lmdm_mini.").split(".")[0]
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts if len(parts) == 2 or parts[-1] != "__init__" else parts[:-1])


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path, everywhere: bool = True) -> set[str]:
    """Modules of the package that a file imports: anywhere in it, or only when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lmdm_mini"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found - {"lmdm_mini"}


def test_every_module_has_a_floor():
    for name in MODULES:
        floor_of(name)


def test_imports_point_down():
    wrong = []
    for name, path in MODULES.items():
        for other in imports_of(path):
            rooms = name.split(".")[1], other.split(".")[1]
            if floor_of(other) > floor_of(name) or rooms in STRANGERS:
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_no_module_imports_itself_in_the_end():
    TopologicalSorter({name: imports_of(path) & set(MODULES) for name, path in MODULES.items()}).prepare()


def test_rooms_do_not_go_round_in_circles():
    rooms: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        mine = name.split(".")[1]
        rooms.setdefault(mine, set()).update(other.split(".")[1] for other in imports_of(path))
    TopologicalSorter({room: others - {room} for room, others in rooms.items()}).prepare()
