"""How a trainer pushes: what is listed in `belonging`, and never its arguments, optimizer or random states."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers import Trainer
from transformers.trainer_utils import HubStrategy, SaveStrategy

from ..hub.publish import push

logger = logging.getLogger(__name__)

RESUMING = (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS)


class HubTrainer(Trainer):
    """transformers' Trainer that pushes its model as [`hub.publish.push`] does.

    With `hub_strategy="end"` that happens once, after training. With `every_save`, `checkpoint` and
    `all_checkpoints`, the model of each checkpoint is pushed when it is saved, too, while training waits. What a run
    is resumed from stays in the output folder whatever the strategy: much of it is pickles, which nobody should load
    from a stranger.
    """

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **settings: Any,
    ) -> Any:
        """Upload the model with its front end, code, results and card in one commit; a teacher without code.

        The output folder's other files, checkpoints to resume from among them, stay where they are.

        Args:
            commit_message: Of the commit.
            blocking: Whether to wait until it is made.
            token: Instead of `args.hub_token`.
            revision: Branch, instead of `args.hub_revision`.
            private: Whether a new repository is, instead of `args.hub_private_repo`.
            settings: `license`, `language` and `tags` of the card; other settings of `push`.

        Returns:
            The commit, or a future of it; None on all processes but the first.

        Raises:
            OSError: The Hub can't be reached or refuses.
            TypeError: A setting that `push` does not have.
        """
        if "license" in settings:
            settings["license_id"] = settings.pop("license")
        known = set(push.__kwdefaults__ or {}) - {"only_model"}
        if unknown := sorted(set(settings) - known):
            raise TypeError(f"push_to_hub takes no {', '.join(unknown)}: choose among {', '.join(sorted(known))}")
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        given = {"token": token, "revision": revision, "private": private}
        settings |= {key: value for key, value in given.items() if value is not None}
        return self._push(self.args.output_dir, commit_message, not blocking, **settings)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push the model of a checkpoint; where that fails, training goes on, and at its end is another try."""
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        if self.args.hub_strategy in RESUMING:
            logger.warning(
                "hub_strategy=%s pushes the model alone: what a run is resumed from stays in %s",
                self.args.hub_strategy.value,
                checkpoint_folder,
            )
        steps = self.args.save_strategy == SaveStrategy.STEPS
        place = f"step {self.state.global_step}" if steps else f"epoch {int(self.state.epoch or 0)}"
        try:
            self._push(checkpoint_folder, f"Training in progress, {place}")
        except (OSError, ValueError) as error:
            logger.warning("%s was not pushed, and training goes on: %s", checkpoint_folder, error)

    def _push(self, folder: str, commit_message: str | None, in_background: bool = False, **settings: Any) -> Any:
        args = self.args
        self.callback_handler.on_push_begin(args, self.state, self.control)
        settings = {
            "token": args.hub_token,
            "revision": args.hub_revision,
            "private": args.hub_private_repo,
        } | settings
        settings |= {"commit_message": commit_message, "only_model": True}
        if in_background:
            return HfApi().run_as_future(push, Path(folder), self.hub_model_id, **settings)
        return push(Path(folder), str(self.hub_model_id), **settings)
