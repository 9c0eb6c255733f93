"""What training starts from: a checkpoint, a DeiT of timm, or nothing."""

from __future__ import annotations
