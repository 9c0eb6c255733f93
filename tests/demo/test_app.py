"""The demo's page: what it computes, and itself in a browser."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import ASTForAudioClassification

from fastast_hf import AudioError, FastASTFeatureExtractor, Tagger, load_audio
from fastast_hf.benchmarking.rounds import WARM_UP_ROUNDS
from fastast_hf.demo.app import ROUNDS, compare, sample_clips
from fastast_hf.demo.visualization import merge_clip

pytest.importorskip("matplotlib")
ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "speech" / "yes_slt.wav"


def scores_of(r: int, top_k: int = 5) -> dict[str, float]:
    return {label["label"]: label["score"] for label in Tagger(tome_r=r, top_k=top_k)(str(CLIP))}


def test_labels_tokens_and_times_stand_side_by_side() -> None:
    stock, fast, table, figure = compare(Tagger(top_k=3), str(CLIP), 8)
    for shown, r in ((stock, 0), (fast, 8)):
        assert list(shown) == list(scores_of(r, 3)) and shown == pytest.approx(scores_of(r, 3), abs=1e-5)
    assert stock != pytest.approx(fast, abs=1e-4)
    assert "| tokens | 146 | 146 → 50 |" in table
    assert re.search(r"\| ms a clip, 16 at once \| [\d.]+ \| [\d.]+ \([\d.]+×\) \|", table)
    assert figure is not None and len(figure.axes) == 4


def test_stock_ast_is_transformers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    forward = ASTForAudioClassification.forward

    def counted(self: ASTForAudioClassification, *args: Any, **kwargs: Any) -> Any:
        ran.append(type(self))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(ASTForAudioClassification, "forward", counted)  # FastAST has one of its own
    compare(Tagger(), str(CLIP), 8)
    assert ran == [ASTForAudioClassification] * (1 + WARM_UP_ROUNDS + ROUNDS)


def test_without_a_sound_it_asks_for_one() -> None:
    assert compare(Tagger(), None, 8) == ({}, {}, "Upload or record a sound.", None)


def test_a_long_recording_is_labelled_whole_and_the_page_says_what_it_shows() -> None:
    samples = np.concatenate([load_audio(CLIP.with_name(f"{word}_slt.wav")) for word in ("yes", "stop", "go")])
    recording: Any = (samples, 16000)
    stock, fast, table, figure = compare(Tagger(top_k=3), recording, 8)
    for shown, r in ((stock, 0), (fast, 8)):
        expected = {label["label"]: label["score"] for label in Tagger(tome_r=r, top_k=3)(recording)}
        assert shown == pytest.approx(expected, abs=1e-5)
    assert "Labels are of the whole recording, 3 windows; the picture shows the first." in table
    assert figure is not None
    assert "labels of the whole recording; its first 1.28 s are shown" in figure.axes[0].get_title()


def test_scores_that_are_not_finite_are_an_error_and_no_labels() -> None:
    tagger = Tagger()
    tagger.model.classifier.dense.bias.data.fill_(float("nan"))
    for show in (compare, merge_clip):
        with pytest.raises(AudioError, match=r"yes_slt\.wav: .* not finite"):
            show(tagger, str(CLIP), 8)


def built(model: str | None = None) -> Any:
    pytest.importorskip("gradio")
    from fastast_hf.demo.app import build_demo

    return build_demo(model)


def test_a_model_that_merges_nothing_opens_with_an_r_that_does(make_fastast: Any, tmp_path: Path) -> None:
    make_fastast(num_mel_bins=128).save_pretrained(tmp_path / "mine")
    FastASTFeatureExtractor(max_length=128).save_pretrained(tmp_path / "mine")
    blocks = list(built(str(tmp_path / "mine")).blocks.values())
    (slider,) = [block for block in blocks if type(block).__name__ == "Slider"]
    assert 0 < slider.value < slider.maximum
    (about,) = [block.value for block in blocks if str(getattr(block, "value", "")).startswith("# ")]
    assert "Model: `mine`, which knows 5 labels: `LABEL_0`" in about and str(tmp_path) not in about


def test_an_exported_file_is_refused_before_the_page_opens() -> None:
    with pytest.raises(ValueError, match=r"model\.onnx does not tell what it merges: give the checkpoint"):
        built("model.onnx")


def test_samples_are_sounds_that_can_be_labelled() -> None:
    clips = sample_clips()
    assert [Path(clip).name for clip in clips] == ["siren.wav", "knocking.wav"]
    assert all(len(labels) == 1 for labels in Tagger(top_k=1)(clips))


@pytest.mark.parametrize("name", ["broken.wav", "notes.txt"])
def test_an_unreadable_sound_is_a_message_that_names_no_folder_of_the_server(name: str, tmp_path: Path) -> None:
    gradio = pytest.importorskip("gradio")
    broken = tmp_path / name
    broken.write_bytes(b"no sound")
    answer = next(fn.fn for fn in built().fns.values() if len(fn.inputs) == 2)
    with pytest.raises(gradio.Error) as raised:
        answer(str(broken), 8)
    assert raised.value.message.startswith(f"{name}: no audio that can be decoded")
    assert tmp_path.name not in raised.value.message


@contextmanager
def served() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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


def wait_for(read: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 120) -> Any:
    end = monotonic() + seconds
    while not wanted(value := read()):
        assert monotonic() < end, f"still {value!r}"
        sleep(0.3)
    return value


@pytest.mark.slow
def test_a_visitor_uploads_a_clip_moves_the_slider_and_reads_the_labels(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("gradio")

    def text(css: str) -> str:
        found = browser.find_elements("css selector", css)
        return found[0].text if found else ""

    def labels(css: str) -> list[tuple[str, int]]:
        return [(label, int(percent)) for label, percent in re.findall(r"(\w+)\n(\d+)%", text(css))]

    def as_shown(r: int) -> list[tuple[str, int]]:
        return [(label, round(100 * score)) for label, score in scores_of(r).items()]

    def picture() -> str:
        found = browser.find_elements("css selector", "#picture img")
        return found[0].get_attribute("src") if found else ""

    with served() as address:
        browser.get(address)
        wait_for(lambda: browser.find_elements("css selector", "input[type=file]"), bool)
        (tmp_path / "notes.txt").write_text("no sound")
        browser.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "notes.txt"))
        wait_for(lambda: text("[data-testid=toast-body]"), lambda said: "Invalid file type: notes.txt" in said)
        browser.find_element("css selector", "input[type=file]").send_keys(str(CLIP))
        wait_for(lambda: text("#table"), lambda shown: "r = 12" in shown)
        assert labels("#stock") == as_shown(0) and labels("#fast") == as_shown(12)
        first = wait_for(picture, bool)
        number = browser.find_element("css selector", "input[type=number]")
        number.send_keys("\ue009a\ue000" + "20" + "\ue007")  # all of it replaced, and return
        wait_for(lambda: text("#table"), lambda shown: "r = 20" in shown)
        assert labels("#stock") == as_shown(0) and labels("#fast") == as_shown(20)
        wait_for(picture, lambda shown: shown not in ("", first))
        if wanted := os.environ.get("FASTAST_SCREENSHOT"):
            wait_for(lambda: text("[data-testid=toast-body]"), lambda said: not said)  # it goes by itself
            browser.save_screenshot(wanted)


# Of what is on the page: what sticks out to the right, what runs out of its own box, what lies on something else.
FAULTS = """
const shown = [...document.querySelectorAll("gradio-app *")].filter(e => {
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  return box.width > 1 && box.height > 1 && style.visibility == "visible" && +style.opacity > 0;
});
const name = e => e.tagName + (e.id ? "#" + e.id : "") + " " + (e.innerText || "").slice(0, 30);
const faults = [];
for (const e of shown)
  if (e.getBoundingClientRect().right > screen.width + 1) faults.push("sticks out: " + name(e));
const texts = shown.filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
  .concat(shown.filter(e => e.matches("img, canvas, input")));
const boxes = texts.map(e => {
  if (e.matches("img, canvas, input")) return e.getBoundingClientRect();
  const range = document.createRange();
  range.selectNodeContents(e);
  return range.getBoundingClientRect();
});
for (let i = 0; i < texts.length; i++)
  for (let j = 0; j < i; j++) {
    if (texts[i].contains(texts[j]) || texts[j].contains(texts[i])) continue;
    const a = boxes[i], b = boxes[j];
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 2) faults.push("overlap: " + name(texts[i]) + " | " + name(texts[j]));
  }
if (document.documentElement.scrollWidth > screen.width) faults.push("the page scrolls sideways");
return faults;
"""


@pytest.mark.slow
def test_on_a_phone_nothing_overlaps_or_sticks_out(browser: Any) -> None:
    pytest.importorskip("gradio")

    def text(css: str) -> str:
        found = browser.find_elements("css selector", css)
        return found[0].text if found else ""

    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    with served() as address:
        browser.get(address)
        wait_for(lambda: browser.find_elements("css selector", "input[type=file]"), bool)
        assert browser.execute_script("return innerWidth") == 390
        assert browser.execute_script(FAULTS) == []
        browser.find_element("css selector", "input[type=file]").send_keys(str(CLIP))
        wait_for(lambda: text("#table"), lambda shown: "r = 12" in shown)
        wait_for(lambda: browser.find_elements("css selector", "#picture img"), bool)
        (table,) = browser.find_elements("css selector", "#table table")
        if wanted := os.environ.get("FASTAST_SCREENSHOT_PHONE"):
            shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
            Path(wanted).write_bytes(b64decode(shot["data"]))
        assert browser.execute_script(FAULTS) == []
        heads = browser.find_elements("css selector", "#table th")
        assert [head.text for head in heads][1:] == ["stock", "r = 12"]
        assert all(head.size["height"] < 2 * 24 for head in heads), table.text  # no word is broken over two lines
        # And what does overlap and stick out is found.
        browser.execute_script("document.querySelector('#table').style.cssText = 'position: relative; top: 150px'")
        browser.execute_script(
            "document.querySelector('#table table').style.cssText = 'width: 500px; max-width: none'"
        )
        faults = browser.execute_script(FAULTS)
        assert any("overlap: " in fault for fault in faults) and any("sticks out: " in fault for fault in faults)


@pytest.mark.slow
def test_the_live_tab_follows_a_microphone(open_browser: Callable[..., Any], tmp_path: Path) -> None:
    """The browser's microphone is a file that says yes and stop in turn."""
    pytest.importorskip("gradio")
    spoken = [load_audio(CLIP.with_name(f"{word}_slt.wav")) for word in ("yes", "stop")]
    silence = np.zeros(16000, np.float32)
    soundfile.write(
        tmp_path / "sound.wav", np.concatenate([part for word in spoken for part in (word, silence)]), 16000
    )
    browser = open_browser(
        "--use-fake-ui-for-media-stream",  # which asks nobody whether the page may listen
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'sound.wav'}",
    )

    def shown(css: str) -> list[Any]:
        return [found for found in browser.find_elements("css selector", css) if found.is_displayed()]

    def text(css: str) -> str:
        return "".join(found.text for found in shown(css))

    heard = set()

    def listened() -> set[str]:
        heard.update(re.findall(r"^(?:Now\n)?(\w+)\n", text("#live")))  # the likeliest label
        return heard

    with served() as address:
        browser.get(address)
        tabs = wait_for(lambda: {tab.text: tab for tab in shown("button[role=tab]")}, lambda tabs: "Live" in tabs)
        tabs["Live"].click()
        assert "Press Record" in wait_for(lambda: text("#live-line"), bool)
        wait_for(lambda: shown("button.record-button"), bool)[0].click()
        wait_for(listened, lambda words: {"yes", "stop"} <= words, 180)
        line = r"(\d+):(\d\d):(\d\d) · latency \d+ ms · real-time factor [\d.]+"
        first = wait_for(lambda: re.fullmatch(line, text("#live-line")), bool)
        wait_for(lambda: re.fullmatch(line, text("#live-line")), lambda later: later and later[0] != first[0])
        shown(".mic-wrap button")[0].click()
        wait_for(lambda: shown("button.record-button"), bool)
        assert not text("[data-testid=toast-body]")  # which would say an error
