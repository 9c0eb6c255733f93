"""Train a FastAST on the Speech Commands layout, with merging on and `tome_r` drawn at random per step.

    python training/run_finetune.py --data speech_commands --output_dir out --num_train_epochs 60

Takes transformers' TrainingArguments on top of its own; `accelerate launch` works as with any Trainer script.
`training/bundle_checkpoint.py` scores the result at every r.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import HfArgumentParser, Trainer, TrainingArguments, set_seed

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification
from fastast_hf.audio import AudioError, load_audio
from fastast_hf.augmentation import add_noise, mixup, random_gain, random_shift, random_speed, spec_augment
from fastast_hf.feature_extraction_fastast import log_mel_spectrogram

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
LABELS = (*COMMANDS, UNKNOWN, SILENCE)
SAMPLING_RATE, CLIP_SAMPLES = 16000, 16000


@dataclass
class Settings:
    """What to train on and how to merge and augment; the rest is transformers' TrainingArguments."""

    data: str = field(metadata={"help": "Speech Commands folder: a folder per word, the two lists beside them"})
    extra_words: str | None = field(default=None, metadata={"help": "folder of more training words, one folder each"})
    model: str | None = field(default=None, metadata={"help": "AST or FastAST checkpoint to start from (else random)"})
    hidden_size: int = field(default=192, metadata={"help": "of a model from nothing; 3 heads, 12 layers"})
    tome_r: int = field(default=8, metadata={"help": "the checkpoint's own r, used to choose among epochs"})
    train_r: list[int] = field(
        default_factory=lambda: [0, 4, 8, 12, 16, 20, 30, 40], metadata={"help": "r is drawn from these at each step"}
    )
    frames: int = field(default=128, metadata={"help": "frames of a spectrogram; 98 leaves out a second's padding"})
    mixup: float = field(default=0.5, metadata={"help": "share of clips mixed with another"})
    noise: float = field(default=0.7, metadata={"help": "share of clips that get noise of the silence class"})
    speed: float = field(default=1.25, metadata={"help": "fastest playing speed; the slowest is 1 over it"})
    frequency_mask: int = field(default=32, metadata={"help": "widest SpecAugment band, mel bins"})
    time_mask: int = field(default=32, metadata={"help": "longest SpecAugment stretch, frames"})
    label_smoothing: float = field(default=0.1, metadata={"help": "of the training targets"})


class Clips(torch.utils.data.Dataset):
    """Waveforms in memory: (n, samples) int16 and labels (n,)."""

    def __init__(self, files: Sequence[Path]) -> None:
        waveforms = np.zeros((len(files), CLIP_SAMPLES), dtype=np.int16)
        for index, file in enumerate(files):
            samples = load_audio(file, SAMPLING_RATE)[:CLIP_SAMPLES]
            waveforms[index, : len(samples)] = np.clip(samples * 32768, -32768, 32767)
        self.waveforms = torch.from_numpy(waveforms)
        names = [file.parent.name for file in files]
        self.labels = torch.tensor([LABELS.index(n) if n in LABELS else LABELS.index(UNKNOWN) for n in names])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"waveforms": self.waveforms[index], "labels": self.labels[index]}


class RandomMergeTrainer(Trainer):
    """A Trainer whose batches are waveforms: front end and augmentation run on the training device."""

    def __init__(self, *args: Any, settings: Settings, extractor: FastASTFeatureExtractor, noise: Tensor, **kw: Any):
        super().__init__(*args, **kw)
        self.settings, self.extractor, self.noise = settings, extractor, noise
        # The loss below is a mean over the batch; the Trainer must divide it by the accumulation steps itself.
        self.model_accepts_loss_kwargs = False

    def features(self, waveforms: Tensor, augment: bool) -> Tensor:
        """Normalised log-mel (B, frames, mel bins), masked by SpecAugment on the way if `augment`."""
        features = log_mel_spectrogram(waveforms, SAMPLING_RATE, self.extractor.num_mel_bins)
        features = F.pad(features, (0, 0, 0, self.settings.frames - features.shape[1]))
        if augment:
            features = spec_augment(features, self.settings.frequency_mask, self.settings.time_mask)
        return self.extractor.normalize(features)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        **_: Any,
    ) -> Any:
        """Soft-label cross-entropy at an r of its own for every training step."""
        settings = self.settings
        waveforms = inputs["waveforms"].float() / 32768
        targets = F.one_hot(inputs["labels"], len(LABELS)).float()
        tome_r = settings.tome_r
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            if model.training:
                tome_r = random.choice(settings.train_r)
                waveforms = random_shift(
                    random_speed(waveforms, 1 / settings.speed, settings.speed), SAMPLING_RATE // 8
                )
                noise = self.noise.to(waveforms.device, torch.float32) / 32768
                waveforms = random_gain(add_noise(waveforms, noise, settings.noise, 0.0, 30.0), -12.0, 6.0)
                waveforms, targets = mixup(waveforms, targets, settings.mixup)
                targets = targets * (1 - settings.label_smoothing) + settings.label_smoothing / len(LABELS)
            features = self.features(waveforms, augment=model.training)
        outputs = model(features, tome_r=tome_r)
        loss = F.cross_entropy(outputs.logits.float(), targets)
        return (loss, {"logits": outputs.logits}) if return_outputs else loss


def split_files(root: Path) -> dict[str, list[Path]]:
    """Train, validation and test files of a Speech Commands folder, by its two lists (speakers do not cross)."""
    files = {str(file.relative_to(root)): file for file in sorted(root.glob("*/*.wav"))}
    lists = {}
    for split in ("validation", "testing"):
        listing = root / f"{split}_list.txt"
        if not listing.is_file():
            raise FileNotFoundError(f"{listing} is missing: give the folder of Speech Commands that holds both lists")
        lists[split] = [files[line] for line in listing.read_text().split() if line in files]
    held_out = {*lists["validation"], *lists["testing"]}
    return {"train": [f for f in files.values() if f not in held_out], **lists}


def new_model(settings: Settings) -> FastASTForAudioClassification:
    """A small FastAST from nothing, started small enough for a few thousand clips."""
    size = settings.hidden_size
    config = FastASTConfig(
        hidden_size=size,
        num_attention_heads=3,
        intermediate_size=4 * size,
        max_length=128,
        layer_norm_eps=1e-6,
        tome_r=settings.tome_r,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    model = FastASTForAudioClassification(config)
    # Transformers' 0.02 is made for hidden sizes around 1000; this small a model starts to learn sooner from Xavier's.
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.xavier_uniform_(parameter)
    embeddings = model.audio_spectrogram_transformer.embeddings
    torch.nn.init.normal_(embeddings.patch_embeddings.projection.weight, std=1 / config.patch_size)
    for table in (embeddings.position_embeddings, embeddings.cls_token, embeddings.distillation_token):
        torch.nn.init.normal_(table, std=0.02)
    return model


def measured_statistics(clips: Clips) -> tuple[float, float]:
    """Mean and standard deviation of the clips' log-mel values, padding left out."""
    features = torch.cat([log_mel_spectrogram(w.float() / 32768) for w in clips.waveforms.split(256)])
    return features.mean().item(), features.std().item()


def main() -> int:
    """Parse, build, train."""
    settings, args = HfArgumentParser((Settings, TrainingArguments)).parse_args_into_dataclasses()
    args.remove_unused_columns = False
    set_seed(args.seed)
    try:
        files = split_files(Path(settings.data))
        extra = sorted(Path(settings.extra_words).glob("*/*.wav")) if settings.extra_words else []
        clips = {split: len(paths) for split, paths in files.items()} | {"extra": len(extra)}
        splits = {split: Clips(paths) for split, paths in (files | {"train": files["train"] + extra}).items()}
    except (FileNotFoundError, AudioError) as error:
        print(f"run_finetune.py: {error}", file=sys.stderr)
        return 2
    print(clips)
    train = splits["train"]
    noise = train.waveforms[train.labels == LABELS.index(SILENCE)]
    if not len(noise):
        print(
            f"run_finetune.py: {settings.data} has no clips in {SILENCE}, which noise is taken from", file=sys.stderr
        )
        return 2
    if settings.model:
        model = FastASTForAudioClassification.from_pretrained(settings.model, tome_r=settings.tome_r)
        extractor = FastASTFeatureExtractor.from_pretrained(settings.model)
    else:
        model = new_model(settings)
        mean, std = measured_statistics(train)
        extractor = FastASTFeatureExtractor(max_length=model.config.max_length, mean=mean, std=std)

    def accuracy(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = RandomMergeTrainer(
        model,
        args,
        train_dataset=train,
        eval_dataset=splits["validation"],
        compute_metrics=accuracy,
        settings=settings,
        extractor=extractor,
        noise=noise,
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()
    extractor.save_pretrained(args.output_dir)
    (Path(args.output_dir) / "clips.json").write_text(json.dumps(clips) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
