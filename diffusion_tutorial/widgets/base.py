"""What every widget here needs: old work is given up, and an old picture never stands under a new label.

A picture and its label are one piece of HTML, set at once. A change of any control ends the run in progress
(its callback returns False) and, after a moment of quiet, starts one with what is set then.

Where no kernel runs, as on the static page, a widget is its last picture: with DIFFUSION_TUTORIAL_STATIC=1 in
the environment, which `make notebooks` sets, the output that a notebook stores is that picture and no widget.
"""

from __future__ import annotations

import base64
import html
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ipywidgets as ipw

from ..errors import allowed
from ..plots import encode
from ..words import say

STATIC = "DIFFUSION_TUTORIAL_STATIC"
STYLE = {"description_width": "7.5em"}
WIDE = {"width": "32em", "max_width": "100%"}

StepCallback = Callable[[int, int, object], bool]


@dataclass(frozen=True)
class Shown:
    """What is on show: the settings that it was made with, its HTML, a one-line label, and a note below it."""

    settings: object
    page: str
    label: str = ""
    note: str = ""


class LiveWidget(ipw.VBox):
    """Controls above, and below them what `_make` makes of their values.

    A subclass gives the constructor its controls and writes `_make`, which alone knows what is drawn:

        class Squares(LiveWidget):
            def __init__(self):
                super().__init__({"side": ipw.IntSlider(value=3, min=1, max=9, description="Side", style=STYLE)})

            def _make(self, settings, callback):
                picture = Image.new("RGB", (10 * settings["side"],) * 2)
                return picture_page(f"Side {settings['side']}.", (picture, "A black square"))

    What belongs to the model and not to the controls is set before super().__init__, which makes the first
    picture.

    Args:
        controls: name -> widget with a `value`; each becomes an attribute of that name too.
        delay: seconds of quiet before a change starts a run.

    shown: the `Shown` on show, or None before the first and after an error. error: the message on show, or "".
    """

    def __init__(self, controls: Mapping[str, ipw.Widget], delay: float = 0.15):
        for name in controls:
            if hasattr(type(self), name):
                raise ValueError(f"controls names {name!r}; allowed: no name that the widget itself has")
        self.delay = delay
        self.shown: Shown | None = None
        self.error = ""
        self.controls = dict(controls)
        self.picture, self.status = ipw.HTML(), ipw.HTML()
        self._lock = threading.Condition()
        self._wanted = 0  # counts changes; a run belongs to one number
        self._done = 0  # the number whose outcome is on show
        self._timer: threading.Timer | None = None
        self._run_lock = threading.Lock()  # one run at a time
        super().__init__(children=[*self.controls.values(), self.picture, self.status])
        for name, control in self.controls.items():
            setattr(self, name, control)
            control.observe(self._changed, names="value")
        self._adjust()
        self._run(self._wanted, self.settings)  # the first picture, before the widget is on show

    # What a subclass writes.

    def _make(self, settings, callback: StepCallback) -> str | Shown:
        """The HTML of these settings, best by `picture_page`; or a `Shown` to keep more than that.

        Runs in a thread of its own, one call at a time. callback(step_index, num_steps, step) is for
        `TextToImage.sample` and for loops of the subclass's own: where it returns False the settings are old,
        and _make should return at once; what it then returns is not shown. Whatever it raises is shown as text.
        """
        raise NotImplementedError

    def _settings(self, values: dict) -> object:
        """What `_make` gets, from name -> value of the controls. The values themselves unless overridden."""
        return values

    def _adjust(self) -> None:
        """Called at the start and after each change: a place to switch off controls that mean nothing now."""

    # What a reader uses.

    @property
    def settings(self):
        """What the controls say now."""
        return self._settings({name: control.value for name, control in self.controls.items()})

    def wait(self, timeout: float = 60.0) -> bool:
        """Block until what is on show belongs to what the controls say. True unless the time ran out."""
        with self._lock:
            return self._lock.wait_for(lambda: self._done == self._wanted, timeout)

    # The machinery.

    def _changed(self, _change) -> None:
        self._adjust()
        with self._lock:
            self._wanted += 1
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self.delay, self._run, (self._wanted, self.settings))
            self._timer.daemon = True
            self.status.value = f"<em>{say('waiting …')}</em>"
            self._timer.start()

    def _run(self, number: int, settings) -> None:
        def current(step_index: int, num_steps: int, _step=None) -> bool:
            if number != self._wanted:
                return False
            if num_steps >= 10 and step_index % 5 == 4:
                self._tell(number, f"<em>{say('step {k} of {n} …', k=step_index + 1, n=num_steps)}</em>")
            return True

        with self._run_lock:
            if number != self._wanted:
                return
            shown, error = None, ""
            try:
                made = self._make(settings, current)
                shown = made if isinstance(made, Shown) else Shown(settings, made)
            except Exception as problem:  # whatever it is, the reader sees it here and not in a log
                kind = "" if isinstance(problem, ValueError) else f"{type(problem).__name__}: "
                error = f"{kind}{problem}"
            with self._lock:
                if number != self._wanted:
                    return
                # After an error there is no picture: the one on show belongs to other settings.
                self.shown, self.error = shown, error
                self.picture.value = shown.page if shown else ""
                self.status.value = (
                    shown.note
                    if shown
                    else f'<span role="alert" style="color:#b00020">{html.escape(error)}</span>'
                )
                self._done = number
                self._lock.notify_all()

    def _tell(self, number: int, text: str) -> None:
        with self._lock:
            if number == self._wanted:
                self.status.value = text

    def _repr_mimebundle_(self, **kwargs):
        if self.shown:
            text = self.shown.label or say("a picture")
            still = {"text/plain": say("[picture: {text}]", text=text), "text/html": self.picture.value}
        else:
            still = {"text/plain": f"[{self.error}]", "text/html": self.status.value}
        if os.environ.get(STATIC, "") not in ("", "0"):
            return still
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, **still} if isinstance(bundle, dict) else bundle


def picture_page(label: str, *pictures: tuple[object, str]) -> str:
    """The HTML of pictures, one below the other, with the label that belongs to them.

    label: plain text, shown under them. pictures: (picture, alternative text) each, the picture a PIL one or
    a matplotlib figure. Raises ValueError without a picture or with an empty alternative.
    """
    if not pictures or not all(text.strip() for _, text in pictures):
        raise ValueError(allowed("pictures", pictures, "at least one (picture, alternative text)"))
    images = []
    for picture, text in pictures:
        data, kind, width, _ = encode(picture)
        images.append(
            f'<img class="dark-light" src="data:image/{kind};base64,{base64.b64encode(data).decode()}" '
            f'width="{width}" alt="{html.escape(" ".join(text.split()))}" '
            f'style="display:block;max-width:100%;height:auto">'
        )
    return (
        f'<figure class="dt-figure" style="margin:0.5em 0">{"".join(images)}'
        f"<figcaption>{html.escape(label)}</figcaption></figure>"
    )
