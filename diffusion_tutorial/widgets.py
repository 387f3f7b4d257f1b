"""Widgets: a live sampler for any `TextToImage`.

A picture and its label are one piece of HTML, set at once, so an old picture never stands under a new label.
A change of any control ends the run in progress (its callback returns False) and starts one with what is set
now.

Where no kernel runs, as on the static page, a widget is its last picture: with DIFFUSION_TUTORIAL_STATIC=1 in
the environment, which `make notebooks` sets, the output that a notebook stores is that picture and no widget.
"""

from __future__ import annotations

import base64
import html
import os
import threading
from dataclasses import dataclass

import ipywidgets as ipw

from .denoisers import Samples, TextToImage
from .plots import encode, to_pil
from .samplers import SAMPLERS

STATIC = "DIFFUSION_TUTORIAL_STATIC"


@dataclass(frozen=True)
class Settings:
    """What one run is made with."""

    prompt: str
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    seed: int
    sampler: str

    def label(self) -> str:
        """The settings in one line."""
        negative = f", not “{self.negative_prompt}”" if self.negative_prompt else ""
        return (
            f"“{self.prompt}”{negative}: {self.num_inference_steps} steps of {self.sampler}, "
            f"guidance {self.guidance_scale:g}, seed {self.seed}"
        )


@dataclass(frozen=True)
class Shown:
    """What the widget shows: a picture and the settings that it was made with."""

    settings: Settings
    samples: Samples
    png: bytes


class SamplerWidget(ipw.VBox):
    """See `sampler_widget`. The controls are attributes: prompt, negative_prompt, steps, guidance, seed,
    sampler.

    shown: the picture on show, a `Shown`, or None before the first. error: the message on show, or "".
    """

    def __init__(
        self,
        model: TextToImage,
        prompt: str,
        negative_prompt: str = "",
        steps: int = 20,
        guidance: float = 4.0,
        seed: int = 0,
        sampler: str = "ddim",
        scale: int = 4,
        delay: float = 0.15,
    ):
        self.model, self.scale, self.delay = model, scale, delay
        self.shown: Shown | None = None
        self.error = ""
        style, wide = {"description_width": "7.5em"}, ipw.Layout(width="32em", max_width="100%")
        most = min(100, model.schedule.num_train_timesteps)
        self.prompt = ipw.Text(
            value=prompt, description="Prompt", style=style, layout=wide, continuous_update=False
        )
        self.negative_prompt = ipw.Text(
            value=negative_prompt,
            description="Negative",
            style=style,
            layout=wide,
            continuous_update=False,
            placeholder="what to steer away from",
        )
        self.steps = ipw.IntSlider(
            value=steps, min=1, max=most, description="Steps", style=style, layout=wide
        )
        self.guidance = ipw.FloatSlider(
            value=guidance,
            min=0.0,
            max=15.0,
            step=0.5,
            description="Guidance scale",
            readout_format=".1f",
            style=style,
            layout=wide,
        )
        self.seed = ipw.BoundedIntText(
            value=seed, min=0, max=2**31 - 1, description="Seed", style=style, layout=ipw.Layout(width="16em")
        )
        self.sampler = ipw.Dropdown(
            value=sampler,
            options=[(s.title, name) for name, s in SAMPLERS.items()],
            description="Sampler",
            style=style,
            layout=wide,
        )
        self.picture = ipw.HTML()
        self.status = ipw.HTML()
        self._controls = (
            self.prompt,
            self.negative_prompt,
            self.steps,
            self.guidance,
            self.seed,
            self.sampler,
        )
        self._lock = threading.Condition()
        self._wanted = 0  # counts changes; a run belongs to one number
        self._done = 0  # the number whose outcome is on show
        self._timer: threading.Timer | None = None
        self._run_lock = threading.Lock()  # one run at a time
        super().__init__(children=[*self._controls, self.picture, self.status])
        for control in self._controls:
            control.observe(self._changed, names="value")
        self._run(self._wanted, self.settings)  # the first picture, before the widget is on show

    @property
    def settings(self) -> Settings:
        """What the controls say now."""
        return Settings(
            self.prompt.value,
            self.negative_prompt.value,
            self.steps.value,
            self.guidance.value,
            self.seed.value,
            self.sampler.value,
        )

    def wait(self, timeout: float = 60.0) -> bool:
        """Block until what is on show belongs to what the controls say. True unless the time ran out."""
        with self._lock:
            return self._lock.wait_for(lambda: self._done == self._wanted, timeout)

    def _changed(self, _change) -> None:
        with self._lock:
            self._wanted += 1
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self.delay, self._run, (self._wanted, self.settings))
            self._timer.daemon = True
            self.status.value = "<em>waiting …</em>"
            self._timer.start()

    def _run(self, number: int, settings: Settings) -> None:
        def current(step_index: int, num_steps: int, _step) -> bool:
            if number != self._wanted:
                return False
            if num_steps >= 10 and step_index % 5 == 4:
                self._tell(number, f"<em>step {step_index + 1} of {num_steps} …</em>")
            return True

        with self._run_lock:
            if number != self._wanted:
                return
            shown, error, note, negative = None, "", "", settings.negative_prompt or None
            if negative and settings.guidance_scale == 1:
                negative, note = None, "At guidance scale 1 a negative prompt has no effect."
            try:
                samples = self.model.sample(
                    settings.prompt,
                    negative,
                    settings.num_inference_steps,
                    settings.guidance_scale,
                    settings.sampler,
                    seed=settings.seed,
                    callback=current,
                    keep_trajectory=False,
                )
                if samples.stopped:
                    return
                picture = to_pil(samples, self.scale)[0]
                data, kind, *_ = encode(picture)
                shown = Shown(settings, samples, _png(picture))
                page = _page(shown, data, kind, picture.width)
            except Exception as problem:  # whatever it is, the reader sees it here and not in a log
                kind = "" if isinstance(problem, ValueError) else f"{type(problem).__name__}: "
                error = f"{kind}{problem}"
            with self._lock:
                if number != self._wanted:
                    return
                self.error = error
                if error:
                    # The picture on show belongs to other settings, so it goes.
                    self.shown, self.picture.value = None, ""
                    self.status.value = (
                        f'<span role="alert" style="color:#b00020">{html.escape(error)}</span>'
                    )
                else:
                    self.shown, self.picture.value = shown, page
                    self.status.value = note
                self._done = number
                self._lock.notify_all()

    def _tell(self, number: int, text: str) -> None:
        with self._lock:
            if number == self._wanted:
                self.status.value = text

    def _repr_mimebundle_(self, **kwargs):
        still = {
            "text/plain": f"[picture: {self.shown.settings.label()}]" if self.shown else f"[{self.error}]"
        }
        still["text/html"] = self.picture.value or self.status.value
        if os.environ.get(STATIC, "") not in ("", "0"):
            return still
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, **still} if isinstance(bundle, dict) else bundle


def sampler_widget(model: TextToImage, prompt: str, **settings) -> SamplerWidget:
    """Controls for prompt, negative prompt, steps, guidance, seed and sampler, and the picture that they
    make.

    model: any `TextToImage`. settings: the other controls' first values (negative_prompt, steps, guidance,
    seed, sampler), scale (how many times the picture is enlarged) and delay (seconds of quiet before a run
    starts). The first picture is made at once; later ones in a thread of their own. Errors appear as text in
    the widget.
    """
    return SamplerWidget(model, prompt, **settings)


def _page(shown: Shown, data: bytes, kind: str, width: int) -> str:
    samples, settings = shown.samples, shown.settings
    numbers = f"{samples.nfe} evaluations of the network, {samples.seconds:.2f} s"
    return (
        f'<figure class="dt-figure" style="margin:0.5em 0"><img class="dark-light" '
        f'src="data:image/{kind};base64,{base64.b64encode(data).decode()}" width="{width}" '
        f'alt="{html.escape("Picture sampled for " + settings.label())}" style="max-width:100%;height:auto">'
        f"<figcaption>{html.escape(settings.label())}. {numbers}.</figcaption></figure>"
    )


def _png(picture) -> bytes:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
