"""The demo's page: what it computes, and itself in a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import soundfile

from fastast_hf import Tagger
from fastast_hf.demo_app import compare

pytest.importorskip("matplotlib")
ROOT = Path(__file__).parents[1]
CLIP = ROOT / "tests" / "data" / "speech" / "yes_slt.wav"


def test_labels_tokens_and_times_stand_side_by_side() -> None:
    tagger = Tagger(top_k=3)
    stock, fast, table, figure = compare(tagger, str(CLIP), 8)
    for scores, r in ((stock, 0), (fast, 8)):
        expected = Tagger(tome_r=r, top_k=3)(str(CLIP))
        assert scores == pytest.approx({label["label"]: label["score"] for label in expected}, abs=1e-5)
    assert "| tokens entering each layer | 146 | 146, 138, 130," in table
    assert re.search(r"\| milliseconds \| [\d.]+ \| [\d.]+ \([\d.]+×\) \|", table)
    assert figure is not None and len(figure.axes) == 4


def test_without_a_sound_it_asks_for_one() -> None:
    assert compare(Tagger(), None, 8) == ({}, {}, "Upload or record a sound.", None)


def test_an_unreadable_sound_is_a_message_on_the_page(tmp_path: Path) -> None:
    gradio = pytest.importorskip("gradio")
    from fastast_hf.demo_app import build_demo

    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    answer = next(iter(build_demo().fns.values())).fn
    with pytest.raises(gradio.Error, match=r"broken\.wav"):
        answer(str(broken), 8)


@contextmanager
def served(port: int) -> Iterator[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-m", "fastast_hf.cli.main", "demo", "--port", str(port)]
    page = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert page.stdout is not None
        for line in page.stdout:
            if found := re.search(r"http://\S+", line):
                yield found[0]
                break
        else:
            pytest.fail("the page did not open")
    finally:
        page.terminate()
        page.wait(30)


def wait_for(read: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 60) -> Any:
    end = monotonic() + seconds
    while not wanted(value := read()):
        assert monotonic() < end, f"still {value!r}"
        sleep(0.3)
    return value


@pytest.mark.slow
def test_a_visitor_uploads_a_clip_moves_the_slider_and_reads_the_labels(tmp_path: Path) -> None:
    selenium = pytest.importorskip("selenium.webdriver")
    pytest.importorskip("gradio")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1250"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    browser = selenium.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        with served(7871) as address:
            browser.get(address)

            def text(css: str) -> str:
                found = browser.find_elements("css selector", css)
                return found[0].text if found else ""

            wait_for(lambda: browser.find_elements("css selector", "input[type=file]"), bool)
            browser.find_element("css selector", "input[type=file]").send_keys(str(CLIP))
            wait_for(lambda: text("#fast"), lambda shown: "yes" in shown)
            assert "yes" in text("#stock") and "146, 134, 122" in text("#table")
            number = browser.find_element("css selector", "input[type=number]")
            number.send_keys("\ue009a\ue000" + "8" + "\ue007")  # all of it replaced, and return
            wait_for(lambda: text("#table"), lambda shown: "146, 138, 130" in shown)
            assert "yes" in text("#fast")
            sleep(2)
            picture = os.environ.get("FASTAST_SCREENSHOT") or str(tmp_path / "demo.png")
            browser.save_screenshot(picture)
            samples, _ = soundfile.read(CLIP)
            assert len(samples) and np.isfinite(samples).all()
            assert Path(picture).stat().st_size > 30_000
    finally:
        browser.quit()
