"""Files at addresses sound as they do here; plain texts are never fetched."""

from __future__ import annotations

import fsspec
import numpy as np
import pytest
from archives import wav
from sounds import refusal

from fastast_hf.audio import addresses, load_audio
from fastast_hf.audio.addresses import Address, filesystem_of


@pytest.fixture
def address() -> Address:
    fsspec.filesystem("memory").pipe_file("/sounds/a b#1.wav", wav(440, 2.0))
    return Address("memory://sounds/a b#1.wav")


@pytest.mark.parametrize("whole", [1 << 20, 1000])
def test_a_file_at_an_address_sounds_as_its_bytes(
    whole: int, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "WHOLE", whole)
    assert np.array_equal(load_audio(address), load_audio(wav(440, 2.0)))


def test_a_text_is_no_address_until_it_is_called_one(address: Address) -> None:
    assert refusal(str.__str__(address)) == f"{address}: no such file; check the path"


def test_what_cannot_be_opened_is_told() -> None:
    assert refusal(Address("memory://sounds/none.wav")).endswith("none.wav: no such file; check the address")
    assert "none.wav: nothing here opens nope://; check the address" in refusal(Address("nope://sounds/none.wav"))


def test_paths_have_a_filesystem_too() -> None:
    files, path = filesystem_of(__file__)
    assert path == __file__ and files.cat_file(path).startswith(b'"""Files at')
