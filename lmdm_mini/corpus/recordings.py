"""Real recordings: freely licensed, produced music for training and testing the codec.

Synthesized pieces alone would teach the codec the sound of one sound font. This module adds music that
people recorded, mixed and mastered: soundtracks and loops that Debian distributes under CC0, CC BY or
CC BY-SA. The table `recordings.json` beside this file names each one: package, file, author, licence,
split. `fetch_recordings` gets the packages with apt, reads only the files of the table out of them and
writes `<out>/audio/<split>/<name>.flac`, stereo, 44.1 kHz, 16 bit. No package is installed.

`data/RECORDINGS.md` is the sheet. Notebook: 01_sound_to_latents.
"""

import json
import shutil
import subprocess
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.audio import SAMPLE_RATE, read_audio, write_audio

TABLE = Path(__file__).with_name("recordings.json")
SPLITS = ("train", "valid", "test")
LICENCES = ("CC0 1.0", "CC BY 3.0", "CC BY 4.0", "CC BY-SA 3.0", "CC BY-SA 4.0")
LISTENING_SECONDS = 10.0


@dataclass(frozen=True)
class Recording:
    """One row of the table.

    name: of the FLAC that is written.
    package, path: where it comes from; `member` is the file in it if `path` is a zip archive.
    add: further files of the package to be summed with `path` (songs that come as separate tracks).
    evidence: the file of the package that states the licence.
    kind: track (whole piece), excerpt, loop or sample.  style: only where author or package say so, else "".
    start, seconds: stretch to read, in seconds; seconds=None reads the whole file.
    shipped: its first 10 s are in data/recordings.
    """

    name: str
    package: str
    path: str
    title: str
    author: str
    licence: str
    evidence: str
    split: str
    kind: str
    style: str = ""
    member: str = ""
    add: tuple[str, ...] = ()
    start: float = 0.0
    seconds: float | None = None
    shipped: bool = False


def list_recordings(split: str | None = None) -> list[Recording]:
    """The rows of the table, of one split ("train", "valid", "test") or all. ValueError for another split."""
    if split is not None and split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    # pyrefly: ignore [bad-argument-type]  # a test holds the table's types
    rows = [Recording(**{**row, "add": tuple(row.get("add", ()))}) for row in _table()["recordings"]]
    return [row for row in rows if split in (None, row.split)]


def list_packages() -> dict[str, dict]:
    """Debian package name -> {"version": the one the table was made from, "download_mb": its size}."""
    return _table()["packages"]


def show(split: str | None = None) -> None:
    """Prints the table: name, title, author, licence, package."""
    rows = list_recordings(split)
    for row in rows:
        source = f"{row.licence:12}  {row.package}"
        print(f"{row.split:5}  {row.name:34.34}  {row.title:30.30}  {row.author:32.32}  {source}")
    counts = Counter(row.split for row in rows)
    print(", ".join(f"{counts[name]} {name}" for name in SPLITS if counts[name]))


def recording_path(row: Recording, out) -> Path:
    """Where `fetch_recordings(out)` writes this recording."""
    return Path(out) / "audio" / row.split / f"{row.name}.flac"


def fetch_recordings(out="runs/recordings", splits=SPLITS, progress: bool = True) -> list[Path]:
    """Gets the recordings of `splits` and returns the paths of their FLACs under `out`/audio/<split>.

    What is there already is left alone, so a second call is free and an interrupted one goes on. Packages
    that are installed are read where they are; a .deb put into `out`/packages by hand is used too.
    Downloads about 700 MB in all and deletes each package when its files are written.

    Raises FileNotFoundError if apt-get or dpkg-deb is missing or a package cannot be downloaded. A file that
    another version of a package no longer has is skipped, and a warning names it.
    """
    out = Path(out)
    rows = [row for split in splits for row in list_recordings(split)]
    todo = [row for row in rows if not recording_path(row, out).is_file()]
    with tqdm(total=len(rows), initial=len(rows) - len(todo), unit="file", disable=not progress) as bar:
        for package in sorted({row.package for row in todo}):
            bar.set_description(package)
            _fetch_package(package, [row for row in todo if row.package == package], out, bar)
    absent = [row.name for row in rows if not recording_path(row, out).is_file()]
    if absent:
        names = ", ".join(absent)
        warnings.warn(f"{len(absent)} recordings are not in this release's packages: {names}", stacklevel=2)
    return [recording_path(row, out) for row in rows if recording_path(row, out).is_file()]


def write_listening_set(
    recordings="runs/recordings", out="data/recordings", seconds: float = LISTENING_SECONDS
) -> list[Path]:
    """Writes the first `seconds` of the rows marked `shipped`, with 20 ms fades, as `out`/<name>.flac."""
    written = []
    for row in list_recordings():
        if row.shipped:
            audio = read_audio(recording_path(row, recordings), seconds=seconds)  # (2, N)
            fade = torch.linspace(0, 1, int(0.02 * SAMPLE_RATE))
            audio[:, : len(fade)] *= fade
            audio[:, -len(fade) :] *= fade.flip(0)
            written.append(write_audio(Path(out) / f"{row.name}.flac", audio))
    return written


def _table() -> dict:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def _fetch_package(package: str, rows: list[Recording], out: Path, bar: tqdm) -> None:
    needed = {path for row in rows for path in (row.path, *row.add)}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=out) as scratch:
        if all((Path("/") / path).is_file() for path in needed):
            root = Path("/")  # installed on this machine
            deb, ours = None, False
        else:
            root = Path(scratch)
            deb, ours = _package_file(package, out / "packages")
            _unpack(deb, needed, root)
        for row in rows:
            if all((root / path).is_file() for path in (row.path, *row.add)):
                _write(row, root, Path(scratch), recording_path(row, out))
            bar.update()
        if ours:
            deb.unlink()  # only what we downloaded; a .deb put there by hand stays


def _package_file(package: str, folder: Path) -> tuple[Path, bool]:
    """The .deb of `package` in `folder`, downloaded if it is not there, and whether it was."""
    if shutil.which("dpkg-deb") is None:
        raise FileNotFoundError(
            "dpkg-deb is missing: the recordings are read out of Debian packages. "
            "Use Debian or Ubuntu (a container will do), or install the tool `dpkg`."
        )
    found = sorted(folder.glob(f"{package}_*.deb"))
    if found:
        return found[-1], False
    if shutil.which("apt-get") is None:
        raise FileNotFoundError(
            f"apt-get is missing, so {package} cannot be downloaded. "
            f"Put {package}_*.deb from a Debian mirror into {folder} and call again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as partial:  # no half .deb stays behind
        command = ["apt-get", "download", "-q", package]
        run = subprocess.run(command, cwd=partial, capture_output=True, text=True)
        debs = list(Path(partial).glob("*.deb"))
        if run.returncode or not debs:
            why = [line for line in run.stderr.splitlines() if line.startswith("E:")] or ["no reason given"]
            raise FileNotFoundError(
                f"apt-get could not download {package} ({' '.join(why)}). Check the network, "
                "run `apt-get update`, and see that Debian's main section is among the sources."
            )
        return debs[0].rename(folder / debs[0].name), True


def _unpack(deb: Path, needed: set[str], root: Path) -> None:
    """Writes the files `needed` of a package below `root`, and nothing else."""
    run = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
    try:
        with tarfile.open(fileobj=run.stdout, mode="r|") as archive:
            for entry in archive:
                path = entry.name.removeprefix("./")
                if entry.isfile() and path in needed:
                    target = root / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source = archive.extractfile(entry)
                    if source is None:  # a folder
                        continue
                    with source, open(target, "wb") as sink:
                        shutil.copyfileobj(source, sink)
    except tarfile.TarError as error:
        raise ValueError(f"{deb} is damaged ({error}); delete it and fetch again.") from error
    finally:
        run.stdout.close()
        run.wait()


def _write(row: Recording, root: Path, scratch: Path, target: Path) -> None:
    """Reads `row` below `root` and writes `target`; writes nothing if its archive has no such member."""
    parts = []
    with warnings.catch_warnings():  # 48 kHz and mastered-to-the-ceiling files are known and expected here
        warnings.simplefilter("ignore")
        for path in (row.path, *row.add):
            source = _member(root / path, row.member, scratch) if row.member else root / path
            if source is None:
                return
            parts.append(read_audio(source, seconds=row.seconds, start=row.start))
        write_audio(scratch / target.name, _sum(parts))
    target.parent.mkdir(parents=True, exist_ok=True)
    (scratch / target.name).rename(target)  # a file under its own name is complete


def _member(archive_path: Path, member: str, scratch: Path) -> Path | None:
    with zipfile.ZipFile(archive_path) as archive:
        return Path(archive.extract(member, scratch)) if member in archive.namelist() else None


def _sum(parts: list[Tensor]) -> Tensor:
    """Tracks of one song as one mix, (2, N); scaled down only if the sum would clip."""
    length = max(part.shape[1] for part in parts)
    mix = torch.stack([torch.nn.functional.pad(part, (0, length - part.shape[1])) for part in parts]).sum(0)
    return mix / max(1.0, float(mix.abs().max())) if len(parts) > 1 else mix
