"""Free sound from packages: what is taken, what is left out, and where it is from."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from running_scripts import load_script
from small_corpora import write_tone

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020, Somebody
License: GPL-2+

Files:
 sound/dog.wav
 sound/cat*.wav
Copyright: 2021, Somebody else
License: CC-BY-3.0
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script, with packages of this test instead of apt's."""
    module = load_script("free_sounds")

    def fetch(package: str, folder: Path) -> str:
        share = folder / "unpacked" / "usr" / "share"
        (share / "doc" / package).mkdir(parents=True)
        (share / "doc" / package / "copyright").write_text(COPYRIGHT)
        if package == "tested":
            write_tone(share / "shared.wav", 440)
            return "1.0-1"
        write_tone(share / "game" / "long.wav", 500, seconds=25)
        write_tone(share / "game" / "heard_in_esc.wav", 600)
        write_tone(tmp_path / "dog.wav", 700)
        write_tone(tmp_path / "shared.wav", 440)
        soundfile.write(share / "game" / "silence.wav", np.zeros(16000), 16000)
        (share / "game" / "broken.ogg").write_bytes(b"OggS no")
        (share / "game" / "link.wav").symlink_to("/etc/passwd")
        with zipfile.ZipFile(share / "game" / "data.pk3", "w") as archive:
            archive.write(tmp_path / "dog.wav", "sound/dog.wav")
            archive.write(tmp_path / "shared.wav", "../../../../../../outside.wav")
            archive.writestr("readme.txt", "hello")
        return "2.0-1"

    monkeypatch.setattr(module, "fetch", fetch)
    return module


def test_sounds_are_taken_once_with_their_packages_and_licences(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, esc = tmp_path / "out", tmp_path / "esc"
    write_tone(esc / "audio" / "x.wav", 600)
    arguments = [str(out), "--train", "trained", "--test", "tested", "--exclude", str(esc)]
    assert script.main(arguments) == 0
    with (out / "sounds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["split"], row["package"], row["version"], row["source"], row["start_s"]) for row in rows]
    game = "usr/share/game"
    assert found == [
        ("test", "tested", "1.0-1", "usr/share/shared.wav", "0"),
        ("train", "trained", "2.0-1", f"{game}/data.pk3/sound/dog.wav", "0"),
        *(("train", "trained", "2.0-1", f"{game}/long.wav", start) for start in ("0", "10", "20")),
    ]
    assert [row["licence"] for row in rows] == ["GPL-2+", "CC-BY-3.0", "GPL-2+", "GPL-2+", "GPL-2+"]
    written = sorted(file.relative_to(out).as_posix() for file in out.rglob("*.flac"))
    assert written == sorted(row["file"] for row in rows) and not list(tmp_path.rglob("outside*"))
    assert [soundfile.info(out / row["file"]).duration for row in rows[2:]] == [10.0, 10.0, 5.0]
    assert (out / "licences" / "trained.txt").read_text() == COPYRIGHT
    said = capsys.readouterr().out
    assert "left out: 1 unreadable, 1 heard before, 1 excluded, 1 silent" in said
    assert "test: 0.00 h in 1 excerpts of 1 packages" in said
    before = (out / "sounds.csv").read_text()
    assert script.main(arguments) == 0 and (out / "sounds.csv").read_text() == before


def test_a_package_in_both_splits_and_a_machine_without_apt_are_refused(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.main([str(tmp_path), "--train", "a", "b", "--test", "b"]) == 2
    assert "b is to be trained on and held out: give it once" in capsys.readouterr().err
    monkeypatch.setattr(script.shutil, "which", lambda program: None)
    assert script.main([str(tmp_path), "--train", "a"]) == 2
    assert "there is no apt-get here: run this on Debian or Ubuntu" in capsys.readouterr().err
