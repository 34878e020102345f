"""Source: the places where a study finds its data set's files, and their trusted SHA-256.

Keys that a study leaves out keep the data set's own values: addresses, SHA-256. Handles names of files, not contents.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from nonnormal.data.download import File, obtain


def local(path: str) -> Path:
    """The path with ~ expanded to the home folder.

    Raises:
        ValueError: the home folder is unknown, or no file can have that path.
    """
    if "\0" in path:
        raise ValueError("a path cannot contain the character NUL")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"the home folder {Path(path).parts[0]} is unknown here; write the whole path") from None


def _checked(path: str) -> str:
    local(path)
    return path


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_checked)]
"""A file or folder in a study; ~ stands for a home folder."""


Side = Annotated[int, Field(strict=True, ge=4, le=1024)]


class Source(BaseModel):
    """Where the files of the data set come from; keys that are left out keep the data set's own values."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    path: LocalPath | None = None
    """Folder of the files that were placed by hand, or the single file; for the data set `folder`, the images."""
    mirrors: tuple[str, ...] = ()
    """Addresses (http, https, file) or folders that replace the data set's own, tried in this order."""
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}
    """SHA-256 by file name; replaces the known size and SHA-256."""
    size: Side | tuple[Side, Side] | None = None
    """Height and width of the images of the data sets `folder` and `photos`: one number, or for `folder` also
    [height, width]."""
    channels: Literal[1, 3] = 3
    """Channels of the images of the data set `folder`: 3 for colour, 1 for grey; colours become grey by the luma of
    ITU-R 601."""

    @field_validator("size")
    @classmethod
    def _one_number_of_a_square(cls, size: Any) -> Any:
        return size[0] if isinstance(size, tuple) and size[0] == size[1] else size

    @field_validator("mirrors")
    @classmethod
    def _schemes(cls, mirrors: tuple[str, ...]) -> tuple[str, ...]:
        for mirror in mirrors:
            scheme = re.match(r"(\w+)://", mirror)
            if scheme and scheme[1] not in ("http", "https", "file"):
                raise ValueError(f"{mirror}: allowed are http://, https://, file:// and folders")
            if not scheme:
                local(mirror)
        return mirrors

    @property
    def named(self) -> set[str]:
        """Keys that the study gives."""
        return {key for key, field in type(self).model_fields.items() if getattr(self, key) != field.default}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that `size` and `channels` ask for."""
        height, width = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        return self.channels, height, width

    def obtain(self, file: File) -> tuple[Path, str]:
        """(path, SHA-256) of a file."""
        if self.mirrors:
            file = dataclasses.replace(file, urls=tuple(_address(mirror, file.name) for mirror in self.mirrors))
        if file.name in self.sha256:
            file = dataclasses.replace(file, size=None, sha256=self.sha256[file.name])
        return obtain(file, placed=None if self.path is None else local(self.path))

    def suffix(self, keys: tuple[str, ...]) -> str:
        """A hyphen and eight hex digits of the hash of these keys; empty if none is given."""
        said = self.model_dump(include=self.named.intersection(keys))
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        return f"-{digest[:8]}" if said else ""

    @classmethod
    def parse(cls, text: str) -> Source:
        """The source written in a YAML text, as in a study.

        Raises:
            ValueError: naming each mistake.
        """
        try:
            return cls.model_validate(yaml.safe_load(text) or {})
        except yaml.YAMLError as error:
            raise ValueError(f"source: is not YAML ({error})") from None
        except ValidationError as error:
            # Below size, pydantic lists the kinds of values that it tried.
            places = [found["loc"][:1] if found["loc"][:1] == ("size",) else found["loc"] for found in error.errors()]
            keys = [".".join(map(str, ("source", *place))) for place in places]
            lines = [f"{key}: {found['msg']}" for key, found in zip(keys, error.errors(), strict=True)]
            raise ValueError("\n".join([*lines, f"source: its keys are {', '.join(cls.model_fields)}"])) from None


def _address(mirror: str, name: str) -> str:
    """Address of the file at a mirror, which may be its folder or the address itself."""
    url = mirror if "://" in mirror else local(mirror).resolve().as_uri()
    return url if url.endswith(f"/{quote(name)}") else f"{url.rstrip('/')}/{quote(name)}"
