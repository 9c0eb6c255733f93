"""What the Hub checks of a README's front matter before it takes a commit."""

from __future__ import annotations

from typing import Any

import yaml
from huggingface_hub import ModelCard

from fastast_hf.hub.licenses import LICENSES

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def metadata_errors(content: str, kind: str) -> list[str]:
    """What is wrong with a README of a model, dataset or Space."""
    _, fence, rest = content.partition("---\n") if content.startswith("---\n") else ("", "", "")
    try:
        fields: Any = yaml.safe_load(rest.partition("\n---")[0]) if fence else {}
    except yaml.YAMLError as error:
        return [f"the front matter is no YAML: {error}"]
    if not isinstance(fields, dict):
        return ["the front matter is no mapping"]
    errors = []
    licenses = fields.get("license", [])
    for license_id in licenses if isinstance(licenses, list) else [licenses]:
        if license_id not in LICENSES:
            errors.append(f'"license" must be one of the known ones, and is {license_id!r}')
        if license_id == "other" and kind == "model" and not fields.get("license_name"):
            errors.append('"license: other" needs "license_name"')
    if kind == "model":
        errors += _model_errors(content, fields)
    if kind == "space":
        errors += [
            f'"{key}" is {fields[key]!r}' for key in ("colorFrom", "colorTo") if fields.get(key, "red") not in COLOURS
        ]
        if fields.get("sdk") not in ("gradio", "docker", "static"):
            errors.append(f'"sdk" is {fields.get("sdk")!r}')
        if len(fields.get("short_description", "")) > 60:
            errors.append('"short_description" is longer than 60 characters')
    return errors


def _model_errors(content: str, fields: dict[str, Any]) -> list[str]:
    errors = [
        f'"{key}" must be a text or a list of texts'
        for key in ("base_model", "datasets", "metrics", "tags")
        if not all(isinstance(v, str) for v in (fields[key] if isinstance(fields.get(key), list) else [""]))
    ]
    if "model-index" in fields:
        try:
            ModelCard(content)
        except (ValueError, KeyError, TypeError) as error:
            errors.append(f'"model-index": {error}')
    return errors
