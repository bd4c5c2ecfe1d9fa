"""Augmentation of one's own data: that of recordings or that of pictures, by what the folder holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from snnlab.data.augmentation import EventAugmentation, ImageAugmentation
from snnlab.errors import InputError


@dataclass(frozen=True)
class FolderAugmentation:
    """Changes training batches: recordings as ``EventAugmentation`` does, pictures as ``ImageAugmentation``.

    Args:
        flip: probability that a sample is mirrored left to right.
        shift, jitter_us, drop: of recordings.
        crop_padding, cutout, patch: of pictures.

    Raises: InputError: an argument of the other kind, or as theirs.
    """

    flip: float = 0.0
    shift: int = 0
    jitter_us: float = 0.0
    drop: float = 0.0
    crop_padding: int = 0
    cutout: int = 0
    patch: float = 0.0

    def of_recordings(self) -> EventAugmentation:
        """Return what changes recordings."""
        return EventAugmentation(**self._for(EventAugmentation, "recordings"))

    def of_pictures(self) -> ImageAugmentation:
        """Return what changes pictures."""
        return ImageAugmentation(**self._for(ImageAugmentation, "pictures"))

    def _for(self, kind: type, holds: str) -> dict[str, Any]:
        known = {field.name for field in fields(kind)} & {field.name for field in fields(self)}
        for name, value in asdict(self).items():
            if value and name not in known:
                raise InputError(
                    f"data.augmentation.{name} = {value} is not for {holds}, which the folder holds; "
                    f"{', '.join(sorted(known))} are"
                )
        return {name: value for name, value in asdict(self).items() if name in known}
