"""Free sound from Debian packages: recordings, effects, music and speech to train on without labels.

    python training/free_sounds.py OUT_DIR --exclude ESC-10

fetches the packages listed below with apt (Debian or Ubuntu), takes the sound out of them, and of the zip files that
games keep it in, and writes mono FLAC files of at most ten seconds to OUT_DIR/train and, of other packages, to
OUT_DIR/test: what `fastast distill --corpus unlabelled --data OUT_DIR` reads. sounds.csv gives the package, version
and licence of each file; licences/ has the packages' own words. What is there twice, or is in a folder to exclude, is
left out. Run again, it goes on with the packages that are not in sounds.csv.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm.auto import tqdm

from fastast_hf.audio import AUDIO_EXTENSIONS, AudioError, find_audio, load_audio
from fastast_hf.corpora.unlabelled import SECONDS, excerpt_starts
from fastast_hf.errors import OneLineParser, one_line_errors

RATE = 16_000
ARCHIVES = (".pk3", ".wz", ".zip")
LARGEST = 2**28  # bytes of a sound in an archive
SILENT = 1e-4  # the peak of an excerpt that nobody hears
COLUMNS = ("file", "split", "package", "version", "source", "start_s", "seconds", "licence", "sha256")
# Tested on first: what they share with the others is left out of those.
TEST = (
    "wesnoth-1.16-data", "ufoai-sound", "torcs-data", "endless-sky-data", "sonic-pi-samples", "xmoto-data",
    "asterisk-core-sounds-ru-wav",
)  # fmt: skip
TRAIN = (
    "0ad-data", "asterisk-core-sounds-en-wav", "asterisk-core-sounds-fr-wav", "colobot-common-sounds",
    "flightgear-data-base", "hedgewars-data", "hydrogen-drumkits", "ktuberling-data", "lincity-ng-data",
    "lmms-common", "marsshooter-data", "megaglest-data", "naev-data", "openarena-data", "supertux-data",
    "supertuxkart-data", "trigger-rally-data", "tuxpaint-stamps-default", "unknown-horizons", "warzone2100-data",
    "wesnoth-1.16-music", "widelands-data",
)  # fmt: skip
# Of these, words in many languages, a fifth is taken: one file of five by its digest.
SPOKEN = ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-fr-wav", "ktuberling-data", "tuxpaint-stamps-default")
ONE_OF = 5


def fetch(package: str, folder: Path) -> str:
    """Download a package and unpack it into `folder`; returns its version.

    Raises:
        OSError: apt has no such package, or can't fetch it.
    """
    folder.mkdir()
    for command in (["apt-get", "download", package], ["dpkg", "-x", "{}", "unpacked"]):
        debs = [str(file) for file in folder.glob("*.deb")]
        filled = [part.format(*debs) for part in command]
        done = subprocess.run(filled, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{package}: {' '.join(filled[:2])} failed ({' '.join(done.stderr.split())[-200:]})")
    shown = ["dpkg-deb", "-f", str(next(folder.glob("*.deb"))), "Version"]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()


def sounds(folder: Path) -> Iterator[tuple[str, Path | bytes]]:
    """The audio files below a folder and in archives there, by their paths; links are not followed."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix.lower() in AUDIO_EXTENSIONS:
            yield name, path
        elif path.suffix.lower() in ARCHIVES and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if Path(member.filename).suffix.lower() in AUDIO_EXTENSIONS and member.file_size <= LARGEST:
                        yield f"{name}/{member.filename}", archive.read(member)


def decoded(source: Path | bytes) -> np.ndarray | None:
    """Mono samples at 16 kHz; None of what can't be read."""
    try:
        undecoded = {"bytes": source, "path": "sound"} if isinstance(source, bytes) else str(source)
        return load_audio(undecoded, RATE)
    except AudioError:
        return None


def digest(samples: np.ndarray) -> str:
    """Of what is heard, in whatever file."""
    return hashlib.sha256((samples * 32767).round().astype("<i2").tobytes()).hexdigest()


def licences(copyright_file: Path) -> list[tuple[str, str]]:
    """Patterns of files and their licences, as Debian's machine-readable copyright files have them."""
    found: list[tuple[str, str]] = []
    patterns: list[str] = []
    field = ""
    for line in copyright_file.read_text(errors="replace").splitlines() if copyright_file.is_file() else []:
        name, colon, value = line.partition(":")
        if not line.strip():
            patterns, field = [], ""
        elif colon and not line[0].isspace():
            field = name.lower()
            if field == "license":
                found += [(pattern, value.strip()) for pattern in patterns]
        else:
            value = line
        if field == "files":
            patterns += value.split()
    return found


def licence_of(source: str, known: Sequence[tuple[str, str]]) -> str:
    """The licence of the last pattern that fits the end of a path, as the copyright files are read."""
    path = "/".join(part for part in source.split("/") if not part.endswith(ARCHIVES))
    fitting = [licence for pattern, licence in known if fnmatch.fnmatchcase(f"/{path}", f"*/{pattern}")]
    return fitting[-1] if fitting else "see licences/"


def add_package(package: str, split: str, out: Path, heard: set[str], excluded: set[str]) -> list[dict[str, str]]:
    """Fetch a package, write its sounds and return their rows of sounds.csv."""
    rows: list[dict[str, str]] = []
    left_out: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        version = fetch(package, Path(temporary) / "package")
        unpacked = Path(temporary) / "package" / "unpacked"
        words = unpacked / "usr" / "share" / "doc" / package / "copyright"
        known = licences(words)
        if words.is_file():
            (out / "licences").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(words, out / "licences" / f"{package}.txt")
        for source, content in tqdm(sounds(unpacked), desc=package, unit="file", leave=False, disable=None):
            samples = decoded(content)
            if samples is None:
                left_out["unreadable"] += 1
                continue
            sha256 = digest(samples)
            if sha256 in heard or sha256 in excluded:
                left_out["heard before" if sha256 in heard else "excluded"] += 1
                continue
            heard.add(sha256)
            if package in SPOKEN and int(sha256, 16) % ONE_OF:
                left_out["more words than are wanted"] += 1
                continue
            own = {"split": split, "package": package, "version": version, "source": source, "sha256": sha256}
            for start in excerpt_starts(len(samples) / RATE):
                excerpt = samples[int(start * RATE) : int((start + SECONDS) * RATE)]
                if np.abs(excerpt).max() < SILENT:
                    left_out["silent"] += 1
                    continue
                file = Path(split, package, f"{Path(source).stem}-{sha256[:8]}-{start:04.0f}.flac")
                (out / file).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(out / file, excerpt.clip(-1, 1), RATE, subtype="PCM_16")
                seconds = len(excerpt) / RATE
                placed = {"file": file.as_posix(), "start_s": f"{start:g}", "seconds": f"{seconds:.3f}"}
                rows.append(own | placed | {"licence": licence_of(source, known)})
    without = ", ".join(f"{count} {why}" for why, count in left_out.items())
    print(
        f"{package} {version}: {hours(rows):.2f} h in {len(rows)} excerpts of {split}; left out: {without or 'none'}"
    )
    return rows


def hours(rows: Iterable[dict[str, str]]) -> float:
    """Of sound."""
    return sum(float(row["seconds"]) for row in rows) / 3600


@one_line_errors("free_sounds.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = OneLineParser(prog="free_sounds.py", description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path, help="folder for the sounds and sounds.csv")
    parser.add_argument("--train", nargs="*", default=TRAIN, metavar="PACKAGE", help="packages to train on")
    parser.add_argument("--test", nargs="*", default=TEST, metavar="PACKAGE", help="packages to hold out")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="FOLDER", help="sounds not to take, as ESC-10's")
    args = parser.parse_args(argv)
    if both := sorted(set(args.train) & set(args.test)):
        raise ValueError(f"{both[0]} is to be trained on and held out: give it once")
    if lacking := [program for program in ("apt-get", "dpkg") if shutil.which(program) is None]:
        raise OSError(f"there is no {lacking[0]} here: run this on Debian or Ubuntu, and copy the folder")
    table = args.out_dir / "sounds.csv"
    rows: list[dict[str, str]] = []
    if table.is_file():
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
    heard, there = {row["sha256"] for row in rows}, {row["package"] for row in rows}
    found = find_audio(args.exclude)
    if found.errors:
        raise found.errors[0]
    excluded = {digest(samples) for path in found.files if (samples := decoded(path)) is not None}
    for split, packages in (("test", args.test), ("train", args.train)):
        for package in [name for name in packages if name not in there]:
            rows += add_package(package, split, args.out_dir, heard, excluded)
            partial = table.with_suffix(".partial")
            with partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            partial.replace(table)
    for split in ("train", "test"):
        own = [row for row in rows if row["split"] == split]
        print(f"{split}: {hours(own):.2f} h in {len(own)} excerpts of {len({row['package'] for row in own})} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
