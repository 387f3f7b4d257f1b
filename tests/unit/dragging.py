"""A fast drag over a widget's control: what the page shows meanwhile, and which runs were begun and given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

STEP = 0.05  # seconds that a slowed step takes


def slow_sample(monkeypatch, model) -> list[tuple[int, int]]:
    """Slow each step of `model.sample`; the list fills with (number of steps, index) of every step that was reached."""
    real, reached = model.sample, []

    def slow(*args, callback, **settings):
        def watched(index, count, step):
            time.sleep(STEP)
            reached.append((count, index))
            return callback(index, count, step)

        return real(*args, callback=watched, **settings)

    monkeypatch.setattr(model, "sample", slow)
    return reached


def drag(widget, control, values: Sequence, pause: float) -> set[str]:
    """Give `control` one value after another, `pause` seconds apart: long enough for a run to begin, too short for it
    to end. Returns every page that `widget` showed until it came to rest."""
    seen, ended = set(), threading.Event()

    def watch():
        while not ended.is_set():
            seen.add(widget.picture.value)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for value in values:
            control.value = value
            time.sleep(pause)
        rested = widget.wait(60)
    finally:
        ended.set()
        watcher.join()
    assert rested, "the widget did not come to rest"
    return seen | {widget.picture.value}


def given_up(reached: Iterable[tuple[int, int]], last: int) -> set[int]:
    """The numbers of steps of runs that were begun before the one of `last` steps. Fails if one of them was finished,
    or if the last was not."""
    reached = set(reached)
    earlier = {steps for steps, _ in reached} - {last}
    assert (last, last - 1) in reached, f"the run of {last} steps was not finished"
    assert all((steps, steps - 1) not in reached for steps in earlier), f"finished: {reached}"
    return earlier
