"""`fastast visualize`: the picture it writes, and its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastast_hf.cli.main import main

matplotlib = pytest.importorskip("matplotlib")
CLIP = str(Path(__file__).parents[1] / "data" / "speech" / "yes_slt.wav")
# By how the file starts.
FORMATS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "gif": b"GIF", "webp": b"RIFF"}


@pytest.mark.parametrize("form", FORMATS)
def test_a_picture_is_written_into_a_new_folder(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "new" / f"merged.{form}"
    assert main(["visualize", CLIP, "--r", "8", "--layers", "1", "-o", str(picture)]) == 0
    assert capsys.readouterr() == (f"{picture}\n", "")
    assert picture.read_bytes().startswith(FORMATS[form])


# Arguments, and what the picture says. 500 is more than any layer can merge: the cap leaves half of the patches.
DRAWN = [
    (["--r", "0", "--layers", "1"], ["after layer 1: 144 patches in 144 tokens", "r = 0: patches of one colour"]),
    (["--r", "8", "--layers", "2", "12"], ["after layer 2: 144 patches in 128", "after layer 12: 144 patches in 48"]),
    (["--r", "500", "--layers", "1", "2"], ["after layer 1: 144 patches in 72", "after layer 2: 144 patches in 36"]),
]


@pytest.mark.parametrize(("arguments", "said"), DRAWN)
def test_layers_and_r_are_as_asked(
    arguments: list[str], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text as text
    picture = tmp_path / "merged.svg"
    assert main(["visualize", CLIP, *arguments, "-o", str(picture)]) == 0
    drawn = picture.read_text()
    assert "yes_slt.wav: yes 0." in drawn and all(words in drawn for words in said)


@pytest.mark.parametrize(
    ("layers", "frames"), [(["--layers", "1", "6"], 3), pytest.param([], 13, marks=pytest.mark.slow)]
)
def test_a_moving_picture_has_one_for_the_spectrogram_and_one_for_each_layer(
    layers: list[str], frames: int, tmp_path: Path
) -> None:
    from PIL import Image

    picture = tmp_path / "merged.gif"
    assert main(["visualize", CLIP, "--r", "8", *layers, "-o", str(picture)]) == 0
    assert Image.open(picture).n_frames == frames


MISTAKES = [
    ([CLIP, "-o", "merged.txt"], "--output is merged.txt: give a name that ends in .png, .pdf, .svg, .gif or .webp"),
    ([CLIP, "-o", "merged"], "--output is merged: give a name that ends in .png, .pdf, .svg, .gif or .webp"),
    ([CLIP, "--layers", "0", "-o", "a.png"], "--layers is 0: the model has layers 1 to 12"),
    ([CLIP, "--layers", "4", "13", "-o", "a.png"], "--layers is 4 13: the model has layers 1 to 12"),
    ([CLIP, "--r", "-1", "-o", "a.png"], "--r is -1"),
    ([str(Path(CLIP).parent), "-o", "a.png"], "is a folder: give one audio file in it"),
    (["gone.wav", "-o", "a.png"], "gone.wav: no such file; check the path"),
    ([CLIP, "-o", f"{CLIP}/a.png"], "yes_slt.wav is a file; give another --output"),
    ([CLIP, "--model", "./gone", "-o", "a.png"], "gone does not exist"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_one_line_and_no_picture(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["visualize", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("fastast visualize: ") and said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_letters_that_the_font_lacks_are_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    clip = tmp_path / "dog \U0001f415.wav"
    clip.write_bytes(Path(CLIP).read_bytes())
    assert main(["visualize", str(clip), "--r", "8", "-o", str(tmp_path / "a.png")]) == 0
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []
