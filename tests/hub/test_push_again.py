"""A push over what is there: cards that people wrote in, old weights; and what stays here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import local_hub_routes
import pytest
import soundfile
import torch
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from local_hub import LocalHub
from local_hub_routes import Answer, Request
from pushing import change, commits, logits
from small_results import TRAINING

from fastast_hf import FastASTForAudioClassification as Model
from fastast_hf.cli.main import main
from fastast_hf.hub.merge import merged_card
from fastast_hf.hub.publish import push


def card(hub: LocalHub, name: str = "me/tiny") -> str:
    return hub.files(name)["README.md"].decode()


def edit(hub: LocalHub, old: str, new: str) -> None:
    text = card(hub)
    assert old in text
    HfApi().upload_file(path_or_fileobj=text.replace(old, new).encode(), path_in_repo="README.md", repo_id="me/tiny")


# Cards

MARKER = "<!-- generated: use -->\n"


@pytest.mark.parametrize("own_card", [False, True], ids=["no card in the folder", "a card in the folder"])
def test_what_a_person_wrote_on_the_hub_stays(own_card: bool, hub: LocalHub, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    if own_card:
        (checkpoint / "README.md").write_text(card(hub) + "\n## At home\n\nWritten here.\n")
    edit(hub, MARKER, f"## Thanks\n\nTo Bob.\n\n```bash\ncode\n\nof his\n```\n\n{MARKER}")
    edit(hub, "tags:\n", "language: de\ntags:\n- birds\n")
    edit(hub, "3 layers", "99 layers")
    push(checkpoint, "me/tiny", commit_message="again")
    text = card(hub)
    assert (
        "```bash\ncode\n\nof his\n```\n\n<!-- generated: use -->\n## Use" in text
        and text.count("To Bob.") == text.count("## Use\n") == 1
    )
    assert ("Written here." in text) == own_card
    assert "3 layers" in text and "99 layers" not in text  # generated
    data = ModelCard(text).data
    assert data["language"] == "de" and {"birds", "fastast"} <= set(data.tags or [])
    count = len(commits(hub))
    push(checkpoint, "me/tiny")
    assert len(commits(hub)) == count


def test_a_card_of_a_persons_own_gets_the_generated_sections(hub: LocalHub, checkpoint: Path) -> None:
    HfApi().create_repo("me/tiny")
    HfApi().upload_file(path_or_fileobj=b"# Barks\n\nMy dog.\n", path_in_repo="README.md", repo_id="me/tiny")
    Model.from_pretrained(checkpoint).push_to_hub("me/tiny")
    text = card(hub)
    assert text.count("\n# ") == 1 and "# Barks\n\nMy dog.\n\n<!-- generated: model -->" in text


BEGIN = "<!-- generated: results -->"
RESULTS = f"{BEGIN}\nNew.\n<!-- end of results -->"
# The one that is pushed, the one that is there, and what becomes of them.
MERGES = [
    ("# t\n\na\n\nb\n", "# t\n\na\n\nx\n\nb\n", "# t\n\na\n\nx\n\nb\n"),  # theirs after what it follows
    ("# t\n\na, mended\n", "# t\n\na\n", "# t\n\na\n\na, mended\n"),  # changed on one side: both
    ("# Mine\n\na\n", "# Theirs\n\na\n", "# Theirs\n\n# Mine\n\na\n"),
    ("# t\n\nb\n\na\n", "# t\n\na\n\nb\n", "# t\n\na\n\nb\n"),  # moved
    ("# t\n\na\n", "# Theirs\n\na\n", "# Theirs\n\na\n"),
    ("# Mine\n\na\n", "# t\n\na\n", "# Mine\n\na\n"),
    (
        "# t\n\n```\nx\n\ny\n```\n",
        "# t\n\nx\n\n```\nx\n\nz\n```\n",
        "# t\n\nx\n\n```\nx\n\nz\n```\n\n```\nx\n\ny\n```\n",
    ),
    ("# t\n\na\n", "# t\r\n\r\na\r\n\r\nx\r\n", "# t\n\na\n\nx\n"),
    # Half a marker: what stands below it is a person's.
    (f"# t\n\n{RESULTS}\n", f"# t\n\n{BEGIN}\n\nPrecious.\n", f"# t\n\nPrecious.\n\n{RESULTS}\n"),
    (f"# t\n\n{RESULTS}\n", f"# t\n\n{RESULTS}\n\nPrecious.\n", f"# t\n\n{RESULTS}\n\nPrecious.\n"),
]


@pytest.mark.parametrize(("mine", "theirs", "both"), MERGES)
def test_two_cards_become_one_with_all_that_is_in_either(mine: str, theirs: str, both: str) -> None:
    assert merged_card(mine, theirs, "t") == both
    assert merged_card(mine, both, "t") == both


# Results that a person wrote into the metadata on the Hub, and one that was generated for a table that is gone.
OWN_RESULTS = [("me/dogs", "f1", 0.6, "f1"), ("ashraq/esc50", "accuracy", 0.5, "accuracy, by hand")]
GENERATED = ("ashraq/esc50", "accuracy", 0.1, "accuracy, tome_r = 4")


def result(dataset: str, metric: str, value: float, name: str, split: str = "test") -> dict[str, Any]:
    measured = {"type": metric, "value": value, "name": name}
    place = {"type": dataset, "name": dataset, "split": split}
    return {"task": {"type": "audio-classification"}, "dataset": place, "metrics": [measured]}


def test_a_persons_results_and_examples_on_the_hub_stay_and_generated_ones_are_told_anew() -> None:
    generated = result("ashraq/esc50", "accuracy", 0.79, "accuracy, tome_r = 4", "validation")
    samples = "https://huggingface.co/me/tiny/resolve/main/samples"
    theirs = [
        {"src": "https://x.org/a.wav"},
        {"src": "https://huggingface.co/datasets/d/d/resolve/main/samples/b.wav"},
    ]
    new = {"model-index": [{"name": "tiny", "results": [generated]}], "widget": [{"src": f"{samples}/dog.wav"}]}
    old = {"model-index": [{"name": "t", "results": [result(*GENERATED), *(result(*own) for own in OWN_RESULTS)]}]}
    old |= {"widget": [{"src": f"{samples}/gone.wav"}, *theirs]}
    card, hubs = (f"---\n{json.dumps(fields)}\n---\n# tiny\n" for fields in (new, old))
    for _ in range(2):  # the second time, over what was made
        hubs = merged_card(card, hubs, "tiny")
        data: Any = ModelCard(hubs).data
        assert [(r.dataset_type, r.metric_type, r.metric_value, r.metric_name) for r in data.eval_results] == [
            ("ashraq/esc50", "accuracy", 0.79, "accuracy, tome_r = 4"),
            *OWN_RESULTS,
        ]
        assert data.model_name == "tiny" and data.widget == [*new["widget"], *theirs]
    without = merged_card("---\ntags: [a]\n---\n# tiny\n", hubs, "tiny")  # whose folder has neither
    bare: Any = ModelCard(without).data
    assert [r.metric_value for r in bare.eval_results] == [0.6, 0.5] and bare.widget == theirs


def test_a_model_takes_the_numbers_of_its_folder_along_unless_it_has_changed(hub: LocalHub, checkpoint: Path) -> None:
    (checkpoint / "results.json").write_text(json.dumps(TRAINING))
    (checkpoint / "samples").mkdir()
    soundfile.write(checkpoint / "samples" / "dog.wav", [0.0, 0.5], 16000)
    (checkpoint / "README.md").write_text("# Dogs\n\nMy words.\n")
    model = Model.from_pretrained(checkpoint)
    model.push_to_hub("me/tiny")
    assert "My words." in card(hub) and "accuracy 80.0 %" in card(hub) and "samples/dog.wav" in hub.files("me/tiny")
    model.classifier.dense.bias.data += 1
    model.push_to_hub("me/tiny")
    assert (
        "My words." in card(hub) and "accuracy 80.0 %" not in card(hub) and "results.json" not in hub.files("me/tiny")
    )


# Files


def test_no_pushed_file_has_a_path_of_this_machine(hub: LocalHub, checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())  # as older versions of transformers saved it
    (checkpoint / "config.json").write_text(json.dumps(config | {"_name_or_path": str(checkpoint)}))
    (checkpoint / "results").mkdir()
    (checkpoint / "results" / "esc50-test.md").write_text(f"checkpoints: {checkpoint}\n")
    push(checkpoint, "me/tiny", plain=True)
    for content in (*hub.files("me/tiny").values(), *hub.files("me/tiny-ast").values()):
        assert str(checkpoint.parent).encode() not in content


def test_new_weights_win_whether_in_one_file_or_in_several(hub: LocalHub, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    HfApi().upload_file(path_or_fileobj=b"old", path_in_repo="pytorch_model.bin", repo_id="me/tiny")
    HfApi().upload_file(path_or_fileobj=b"kept", path_in_repo="notes.txt", repo_id="me/tiny")
    for seed, saving in ((1, {"max_shard_size": "50KB"}), (2, {})):
        expected = change(checkpoint, seed, **saving)
        push(checkpoint, "me/tiny")
        names = set(hub.files("me/tiny"))
        assert ("model.safetensors.index.json" in names) == bool(saving) != ("model.safetensors" in names)
        assert "pytorch_model.bin" not in names and "notes.txt" in names
        assert torch.equal(logits(Model.from_pretrained("me/tiny")), expected)
        count = len(commits(hub))
        push(checkpoint, "me/tiny")
        assert len(commits(hub)) == count


PICKLES = ["pytorch_model.bin.index.json", "checkpoint-5/optimizer.pt", "a/b/rng_state_0.pth", "labels.pkl", "A.PT"]
KEPT = ["cabin", "binary.txt", "notes.pt.md", "a/bin/x.json"]


def test_no_pickle_stays_in_a_repository_that_is_pushed_over(hub: LocalHub, checkpoint: Path) -> None:
    pickles = [*PICKLES, "last.ckpt", "tf_model.h5", "old/pytorch_model.bin", ".old/x.bin"]
    HfApi().create_repo("me/tiny")
    added = [CommitOperationAdd(name, b"\x80old") for name in (*pickles, *KEPT)]
    HfApi().create_commit("me/tiny", added, commit_message="old")
    push(checkpoint, "me/tiny")
    names = hub.files("me/tiny")
    assert not set(pickles) & set(names) and set(KEPT) < set(names)


# Settings


def test_a_branch_and_a_private_repository(hub: LocalHub, checkpoint: Path) -> None:
    assert main(["push", str(checkpoint), "me/tiny", "--revision", "v2", "--private"]) == 0
    assert hub.repository("me/tiny").private and not hub.files("me/tiny")
    assert Model.from_pretrained("me/tiny", revision="v2").config.tome_r == 4
    push(checkpoint, "me/open")
    assert not hub.repository("me/open").private


def test_a_model_pushes_with_what_transformers_takes(
    hub: LocalHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.from_pretrained(checkpoint)
    made = model.push_to_hub(
        "me/tiny", commit_message="m", commit_description="d", max_shard_size="50KB", tags=["birds"], private=True
    )
    assert (made.commit_message, made.commit_description, str(made.repo_url)) == ("m", "d", f"{hub.url}/me/tiny")
    assert "model.safetensors.index.json" in hub.files("me/tiny")
    assert {"birds", "fastast"} <= set(ModelCard(card(hub)).data.tags or [])
    with pytest.raises(TypeError, match="unexpected keyword argument 'use_temp_dir'"):
        model.push_to_hub("me/tiny", use_temp_dir=True)

    def propose(hub: LocalHub, asked: Request, **place: str) -> None:
        assert asked.query["create_pr"] == ["1"]
        urls = {"commitUrl": f"{hub.url}/me/tiny/commit/0a", "pullRequestUrl": f"{hub.url}/me/tiny/discussions/1"}
        raise Answer(200, {"success": True, "commitOid": "0a", "hookOutput": "", **urls})

    pattern = rf"{local_hub_routes.API}/commit/{local_hub_routes.REVISION}"
    monkeypatch.setattr(local_hub_routes, "ROUTES", [("POST", pattern, propose), *local_hub_routes.ROUTES])
    assert model.push_to_hub("me/tiny", create_pr=True).pr_num == 1
