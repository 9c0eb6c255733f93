"""`fastast models`, and the short names that it lists."""

from __future__ import annotations

import pytest

from fastast_hf import Tagger
from fastast_hf.cli.main import main
from fastast_hf.loading.bundled import BUNDLED, DEFAULT


def test_models_lists_each_bundled_checkpoint_and_its_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in BUNDLED)
    assert f"{DEFAULT} (default)" in table
    assert "1.295 s" in table  # the longest window
    assert "cc-by-4.0" in table
    assert main(["models", "--labels", "speech-commands"]) == 0
    assert capsys.readouterr().out.split() == [*Tagger("speech-commands").model.config.id2label.values()]


def test_a_short_name_is_a_model_unless_a_folder_has_that_name(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert main(["schedule", "--model", "speech-commands"]) == 0
    assert Tagger("speech-commands").model.config.num_labels == 12
    (tmp_path / "speech-commands").mkdir()
    assert main(["schedule", "--model", "speech-commands"]) == 2
    assert "config.json" in capsys.readouterr().err
