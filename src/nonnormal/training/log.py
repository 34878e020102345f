"""The log of a training while it runs: `training.csv`, which grows by a row at a time, and TensorBoard's event files.

Both are for watching. Speed is in the event files alone: with it, training.csv would differ from run to run, and a
resumed training would not end in the same bytes. Knows rows of numbers, and nothing of what trains.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from nonnormal.files import tracking, write_text

Row = tuple[float, ...]
Watcher = Callable[[Sequence[Row], float], None]
"""Called with all rows so far, those of an interrupted training first, and images/s; at the start and with each row."""

COLUMNS = ("step", "loss_nats_per_dim", "gradient_norm", "learning_rate")


def text_of(rows: Sequence[Row], header: bool = True) -> str:
    """The rows as CSV, a line each, with all digits."""
    lines = [",".join(COLUMNS)] * header + [",".join([str(int(step)), *map(repr, rest)]) for step, *rest in rows]
    return "".join(f"{line}\n" for line in lines)


class GrowingCSV:
    """A CSV file with a line for each row as soon as it is there.

    The first call replaces what is there by a new file, so that nothing is appended to rows of another training, to a
    file that a link shares with DVC's cache, or to a last line that was cut off.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path, self._written = path, -1

    def __call__(self, rows: Sequence[Row], images_per_s: float) -> None:
        """Writes the rows that are not yet there."""
        if self._written < 0:
            with tracking(None):  # no result before the training's end, when it is written with its record
                write_text(self.path, text_of(rows))
        elif new := text_of(rows[self._written :], header=False):
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(new)
            except OSError as error:  # which does not say in which file there is no room
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        self._written = len(rows)


class EventFiles:
    """TensorBoard's event files of a training in a folder, with loss, gradient norm, learning rate and images/s.

    A training that begins anew removes the event files of the one before; one that goes on hides the steps that it does
    again.

    Args:
        folder: theirs alone.

    Raises:
        ValueError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path):
        if importlib.util.find_spec("tensorboard") is None:
            raise ValueError("tensorboard is not installed: pip install tensorboard")
        self.folder, self._writer, self._written = folder, None, 0

    def __call__(self, rows: Sequence[Row], images_per_s: float) -> None:
        """Writes the rows that are not yet there."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            if not rows:
                for path in self.folder.glob("events.out.tfevents.*"):
                    path.unlink()
            self._writer = SummaryWriter(str(self.folder), purge_step=int(rows[-1][0]) + 1 if rows else None)
            self._written = len(rows)
        for row in rows[self._written :]:
            for name, value in zip(COLUMNS[1:], row[1:], strict=True):
                self._writer.add_scalar(name, value, int(row[0]))
            self._writer.add_scalar("images_per_s", images_per_s, int(row[0]))
        self._written = len(rows)
        self._writer.flush()


def watchers(path: Path, events: Path | None) -> Watcher:
    """Writes the CSV file and, where a folder is given, event files."""
    found: list[Watcher] = [GrowingCSV(path), *([EventFiles(events)] if events else [])]

    def watch(rows: Sequence[Row], images_per_s: float) -> None:
        for each in found:
            each(rows, images_per_s)

    return watch
