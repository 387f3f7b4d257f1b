"""`PipelineModel`: a model whose diffusers pipeline runs its own loop, behind the same `sample`.

Flow matching, EDM and cascades are not chains of noise variances, so our samplers cannot walk them. The pipeline
does; its scheduler's `step` is listened to for one run, and `callback_on_step_end` says where the step ended.
That gives the same `Samples`, with the state, the predicted picture and the noise of each step.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from .. import noise as noise_
from ..errors import NotFiniteError, PromptError, UnsupportedModelError, allowed, check_integer, check_number
from ..guidance import COND, NEG, UNCOND
from ..samplers import Step
from ..text_to_image import OPTIONS, Samples, TextToImage, check_run, cut
from .adapters import cuts, decode_latents, encode_pictures
from .families import Family
from .guided import Guided, answering, in_parts, state_of

# What `sample` sets itself, by other names or from its own arguments.
_OURS = {
    "self", "prompt", "generator", "num_images_per_prompt", "output_type", "return_dict", "callback",
    "callback_steps", "callback_on_step_end", "callback_on_step_end_tensor_inputs", "kwargs",
}  # fmt: skip


class _Stopped(Exception):
    """The callback ended the run."""


class PipelineModel(TextToImage):
    """A `TextToImage` that samples by its pipeline's own loop.

    Args:
        pipeline: of a class in `families.FAMILIES`.
        family: its row there.
        name, check_prompt: as for `TextToImage`.
        device: where to compute, when hooks move the components there; None: where they are.
        upscalers: IFSuperResolutionPipelines that continue in turn with the pictures of the stage before.

    Which arguments `sample` takes is read from the pipeline's and its scheduler's signatures: see `options`.
    schedule is None: there is no chain of noise variances.
    """

    def __init__(
        self,
        pipeline,
        family: Family,
        name: str = "pipeline",
        *,
        check_prompt=None,
        device=None,
        upscalers=(),
    ):
        self.pipeline, self.family, self.upscalers = pipeline, family, tuple(upscalers)
        self.name, self.check_prompt, self.kind = name, check_prompt, type(pipeline).__name__
        self.scheduler = getattr(pipeline, self.family.scheduler)
        self.denoiser = getattr(pipeline, self.family.denoisers[0])
        self._device = self.denoiser.device if device is None else torch.device(device)
        self.schedule = self.adapter = None
        self._lock = threading.Lock()  # a pipeline keeps the state of a run in itself
        for stage in (pipeline, *self.upscalers):
            for module in stage.components.values():
                if isinstance(module, torch.nn.Module):
                    module.eval().requires_grad_(False)
        self._call = inspect.signature(type(pipeline).__call__).parameters
        if self.family.layout != "pixels" and self.latent_shape[1] * self.latent_shape[2] >= 64 * 64:
            pipeline.vae.enable_slicing()  # one picture at a time: decoding takes the most memory
        self.options = self._options()
        self.defaults = {} if family.few_steps is None else family.few_steps(pipeline)

    def _options(self) -> frozenset[str]:
        found = {n for n in ("negative_prompt", "guidance_scale", "latents") if self._their(n) in self._call}
        without = self._scale_is_an_input and not self.denoiser.config.guidance_embeds
        if without or self.pipeline.config.get("is_distilled"):
            found.discard("guidance_scale")  # distilled without one: FLUX.1 schnell, FLUX.2 klein
        if "eta" in self._call and "eta" in inspect.signature(self.scheduler.step).parameters:
            found.add("eta")
        if self.family.texts is not None:
            found.add("guidance")
        return frozenset(found)

    @property
    def _scale_is_an_input(self) -> bool:
        """FLUX: guidance_scale is an input of the distilled network; the rule's scale has a name of its own."""
        return "true_cfg_scale" in self._call and self._their("guidance_scale") != "true_cfg_scale"

    def _their(self, name: str) -> str:
        """The pipeline's name of our argument."""
        return self.family.names.get(name, name)

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one state at the model's own size."""
        return self._shape(None, None)

    def _shape(self, height: int | None, width: int | None) -> tuple[int, int, int]:
        if self.family.layout == "pixels":
            model = getattr(self.pipeline, self._pixel_model())
            side = model.config.sample_size
            return model.config.in_channels, height or side, width or side
        pipeline, config = self.pipeline, self.denoiser.config
        factor = pipeline.vae_scale_factor
        side = getattr(pipeline, "default_sample_size", None) or config.get("sample_size")
        side = side or self.family.side // factor
        height, width = ((pixels // factor if pixels else side) for pixels in (height, width))
        if self.family.layout == "packed":
            return config.in_channels // 4, 2 * (height // 2), 2 * (width // 2)
        if self.family.layout == "rows":
            return config.in_channels, height // 2, width // 2
        return config.in_channels, height, width

    def _pixel_model(self) -> str:
        return "decoder" if "decoder" in self.family.components else self.family.denoisers[0]

    def __repr__(self) -> str:
        return f"PipelineModel({self.name!r}, {self.kind}, latents {self.latent_shape}, {self.device}, {self.dtype})"

    def encode_text(self, prompts):
        raise UnsupportedModelError(f"encode_text: {self.kind} runs its own loop, with its own encoding")

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] to states (B, C, h, w), float32."""
        if self.family.layout == "pixels":
            return 2 * pictures.float() - 1
        return encode_pictures(self.pipeline.vae, pictures.to(self.device))

    def eps(self, x_t, t, condition):
        raise UnsupportedModelError(
            f"eps: {self.kind} runs its own loop; its steps are in Samples.trajectory"
        )

    asks_others = False

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """States (B, C, h, w) to pictures (B, 3, H, W), float32 in [0, 1], on the CPU."""
        if self.family.layout == "pixels":
            return (latents.float() / 2 + 0.5).clamp(0, 1).cpu()
        rows = 1 if self.offloaded else 8
        return decode_latents(self.pipeline.vae, latents.to(self.device), rows, self.family.upcasts)

    @torch.no_grad()
    def sample(
        self,
        prompt,
        negative_prompt=None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        eta: float = 0.0,
        seed: int = 0,
        num_images: int = 1,
        guidance=None,
        callback=None,
        *,
        latents: Tensor | None = None,
        noise=None,
        keep_trajectory: bool = True,
        spacing: str | None = None,
        progress: bool | None = None,
        negatives=None,
        **options,
    ) -> Samples:
        """Pictures for a prompt, by the pipeline's own loop.

        As `TextToImage.sample`, with these differences. num_inference_steps and guidance_scale: None stands for
        the pipeline's default, and a scale of at most 1 is the conditional model (diffusers' rule). sampler, noise
        and spacing belong to our samplers and must stay None. Arguments that `self.options` lacks are refused.
        guidance: the pipeline's own is switched off, and the rule combines the network's answers where the
        pipeline would; FLUX's guidance_scale stays the network's input that it is. options: further arguments of
        the pipeline's call, such as height and width, or FLUX's true_cfg_scale. A cascade's steps and scale are those
        of the stage that turns text into a picture; it alone calls the callback and is in the trajectory, and nfe
        counts all stages.

        Steps: x_t and x_s are the pipeline's states, alpha_bar the picture's share of their variance, and x0 and
        eps follow from what the scheduler was given.

        Raises ValueError, or a subclass, that names the argument, its value and what is allowed.
        """
        start = time.perf_counter()
        prompts = self._prompts(prompt)
        negative = self._negatives(negative_prompt, len(prompts))
        several = self._several(negatives, len(prompts))
        seed, num_images, eta = check_run(seed, num_images, eta)
        loop = f"with {self.kind}: None, it runs its own loop ({type(self.scheduler).__name__})"
        refused = {"sampler": sampler, "noise": noise, "spacing": spacing}
        if "guidance" not in self.options:
            refused["guidance"] = guidance
        for name, value in refused.items():
            if value is not None:
                raise ValueError(allowed(name, value, loop))
        rule = None
        if guidance is not None or several:
            rule = self._rule(guidance, 1.0, prompts, negative, several)
            if options.get("true_cfg_scale", 1.0) > 1:
                raise ValueError(
                    allowed(
                        "true_cfg_scale",
                        options["true_cfg_scale"],
                        "with guidance: 1, the rule takes its place",
                    )
                )
        call = self._arguments(num_inference_steps, guidance_scale, None if rule else negative, eta, options)
        if rule is not None and not self._scale_is_an_input:
            call[self._their("guidance_scale")] = self.family.plain  # the pipeline's own guidance is off
        if rule is None and negative is None and self.family.no_text is not None:
            name = self._their("guidance_scale")
            if call.get(name, self._call[name].default) > self.family.plain:
                call["negative_prompt"] = [self.family.no_text] * len(prompts)
        self._warn_of_cuts(
            {
                "prompt": prompts,
                "negative_prompt": negative or [],
                "negatives": [t for s in several.values() for t in s],
            },
            call,
        )
        shape = (len(prompts) * num_images, *self._shape(options.get("height"), options.get("width")))
        initial = self._initial(latents, shape, seed)
        if initial is not None:
            call[self._their("latents")] = initial
        call["generator"] = generators(seed, shape[0])
        call |= {"prompt": list(prompts), "num_images_per_prompt": num_images}
        call["output_type"] = "np" if self.family.arrays else "pt"

        show = self.progress if progress is None else progress
        texts = {UNCOND: [None] * len(prompts), NEG: negative, **several}
        with self._lock, _Run(self, shape, callback, keep_trajectory) as run, _no_cuts_logged(self.pipeline):
            for stage in (self.pipeline, *self.upscalers):
                stage.set_progress_bar_config(disable=not show)
            if self._call.keys() >= {"callback_on_step_end"}:
                call["callback_on_step_end"] = run.step_ended
            images = None
            try:
                if rule is not None:
                    branches = [b for b in rule.branches if b != COND]
                    run.guide(rule, {b: self._condition(texts[b], num_images, call) for b in branches})
                images = self.pipeline(**call).images
                for stage in self.upscalers:
                    images = self._upscale(stage, images, call, run)
            except _Stopped:
                pass
            finally:
                for stage in (self.pipeline, *self.upscalers):
                    stage.maybe_free_model_hooks()
            stopped, x = images is None, run.x
            if stopped:
                images = self.decode(run.x0)
            elif self.family.arrays:
                images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
                x = 2 * images - 1
            elif self.family.layout == "pixels":
                x, images = images, self.decode(images)
            else:
                images = images.float().cpu()
        self._check_result(x, images)
        return Samples(
            images=images,
            latents=x,
            trajectory=run.steps,
            timesteps=torch.tensor(run.timesteps),
            nfe=run.nfe,
            seconds=time.perf_counter() - start,
            prompts=[p for p in prompts for _ in range(num_images)],
            seed=seed,
            stopped=stopped,
            decode=self.decode,
        )

    def _arguments(self, steps, scale, negatives, eta, options) -> dict:
        """The call's arguments that come from ours, each checked against what the pipeline takes."""
        unknown = sorted(set(options) - (set(self._call) - _OURS))
        if unknown:
            free = sorted(set(self._call) - _OURS - set(self.family.names.values()) - set(OPTIONS))
            raise ValueError(
                allowed(unknown[0], options[unknown[0]], f"not with {self.kind}; it takes {', '.join(free)}")
            )
        for name in ("height", "width", "max_sequence_length"):
            if options.get(name) is not None:
                check_integer(name, options[name], 1)
        own = {k: v for k, v in self.defaults.items() if k in self._call}
        call = {k: v for k, v in self.family.fixed.items() if k in self._call} | own | options
        if "height" in self._call and self.family.layout == "latents":
            factor, (_, h, w) = self.pipeline.vae_scale_factor, self.latent_shape
            call = {"height": h * factor, "width": w * factor} | call
        if steps is not None:
            most = int(self.scheduler.config.num_train_timesteps)
            call[self._their("num_inference_steps")] = check_integer("num_inference_steps", steps, 1, most)
        if scale is not None:
            if "guidance_scale" not in self.options:
                raise ValueError(
                    allowed(
                        "guidance_scale", scale, f"with {self.name!r}: None, it was distilled without one"
                    )
                )
            scale = check_number("guidance_scale", scale) - 1 + self.family.plain
            call[self._their("guidance_scale")] = scale
        if negatives is not None:
            call["negative_prompt"] = self._negative(negatives, call)
        if eta and "eta" not in self.options:
            raise ValueError(allowed("eta", eta, f"0 with {type(self.scheduler).__name__}"))
        if eta:
            call["eta"] = eta
        return call

    def _negative(self, negatives: list[str], call: dict) -> list[str]:
        if "negative_prompt" not in self.options:
            raise ValueError(
                allowed("negative_prompt", negatives[0], f"None: {self.kind} takes no negative prompt")
            )
        if self._scale_is_an_input:
            scale = call.get("true_cfg_scale", self._call["true_cfg_scale"].default)
            if not scale > 1:
                raise ValueError(
                    f"negative_prompt is {negatives[0]!r}, and true_cfg_scale is {scale}; "
                    f"allowed with {self.kind}: true_cfg_scale above 1, which doubles the work"
                )
        else:
            name = self._their("guidance_scale")
            scale = call.get(name, self._call[name].default) + 1 - self.family.plain
            if scale <= 1:
                warnings.warn(
                    f"negative_prompt has no effect at guidance_scale {scale:g}: {self.kind} guides above 1",
                    stacklevel=5,
                )
        return negatives

    def _condition(self, texts, num_images: int, call: dict) -> dict:
        """The network's inputs for one branch, a row a picture."""

        def rows(value):
            if isinstance(value, dict):
                return {name: rows(inner) for name, inner in value.items()}
            if isinstance(value, list):
                return [row for row in value for _ in range(num_images)]
            return None if value is None else value.repeat_interleave(num_images, 0)

        return rows(self.family.texts(self.pipeline, texts, call))

    def _warn_of_cuts(self, texts: dict, call: dict) -> None:
        """A warning for each text and encoder where the encoder does not read all of it; diffusers cuts it there."""
        default = self._call["max_sequence_length"].default if "max_sequence_length" in self._call else 77
        encoders = []
        for part in (n for n in self.family.components if n.startswith("tokenizer")):
            tokenizer = getattr(self.pipeline, part, None)
            encoder = getattr(self.pipeline, part.replace("tokenizer", "text_encoder"), None)
            if tokenizer is not None and encoder is not None:
                encoders.append((part, encoder, tokenizer))
        for name, several in texts.items():
            limits = []
            for part, encoder, tokenizer in encoders:
                limit = 77
                if part in self.family.long_texts:
                    less = self.family.long_texts[part]
                    less = less(tokenizer) if callable(less) else less if name == "prompt" else 0
                    limit = max(call.get("max_sequence_length", default) - less, 1)
                limits.append((encoder, tokenizer, limit))
            for text in dict.fromkeys(several):
                for encoder, limit, removed in cuts(limits, text):
                    warnings.warn(cut(name, text, encoder, limit, removed), stacklevel=4)

    def _check_result(self, x: Tensor, images: Tensor) -> None:
        if bool(images.isfinite().all()) and bool(x.isfinite().all()):
            return
        dtype = str(self.dtype).removeprefix("torch.")
        what = "the loop's last state" if not bool(x.isfinite().all()) else "the picture, of a finite state,"
        raise NotFiniteError(
            f"{what} has NaN or infinite numbers ({self.kind} in {dtype}); allowed: finite weights and scales, in a "
            "dtype that holds what they make (dtype='bfloat16' or 'float32' where float16 overflows)"
        )

    def _initial(self, latents, shape, seed) -> Tensor | None:
        """The initial noise as the pipeline wants it, or None where it draws its own."""
        if "latents" not in self.options:
            if latents is not None:
                raise ValueError(
                    allowed("latents", type(latents).__name__, f"None: {self.kind} draws its own noise")
                )
            return None
        if latents is None:
            latents = noise_.gaussian(shape, seed)
        elif not isinstance(latents, Tensor) or latents.shape != shape:
            got = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
            raise ValueError(allowed("latents", got, f"a tensor {shape}"))
        dtype = getattr(torch, self.family.noise_dtype) if self.family.noise_dtype else self.dtype
        latents = latents.to(self.device, dtype)
        return self.pipeline._pack_latents(latents, *shape) if self.family.layout == "packed" else latents

    def unpacked(self, state: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A state of the loop as (B, C, h, w)."""
        if self.family.layout == "rows":
            return state.transpose(1, 2).reshape(len(state), *shape[1:])
        if self.family.layout != "packed":
            return state
        factor = self.pipeline.vae_scale_factor
        state = self.pipeline._unpack_latents(state, shape[2] * factor, shape[3] * factor, factor)
        return state.squeeze(2) if state.ndim == 5 else state  # of autoencoders for films: one moment

    def _upscale(self, stage, images: Tensor, call: dict, run: _Run) -> Tensor:
        """The next stage of DeepFloyd IF on pictures in [-1, 1], with the first stage's text."""
        embeds, negative = self.pipeline.encode_prompt(
            call["prompt"], True, negative_prompt=call.get("negative_prompt"), device=self.device
        )
        count = call["num_images_per_prompt"]
        with run.counting(stage.unet):
            return stage(
                image=images,
                prompt_embeds=embeds.repeat_interleave(count, 0),
                negative_prompt_embeds=negative.repeat_interleave(count, 0),
                generator=call["generator"],
                output_type="pt",
            ).images

    def _prompts(self, prompt) -> list[str]:
        if prompt is None:
            raise PromptError(allowed("prompt", None, f"with {self.kind}: a text or a list of texts"))
        return super()._prompts(prompt)

    def _checked(self, name: str, text: object) -> str:
        if not isinstance(text, str):
            raise PromptError(allowed(name, text, "text"))
        if self.check_prompt is not None and text.strip():
            text = self.check_prompt(text, name) or text
        return text  # its length is looked at with the call's arguments: see _warn_of_cuts


def generators(seed: int, count: int) -> list[torch.Generator]:
    """A generator a picture: what a loop draws for one does not depend on how many there are.

    torch keeps 32 bits of a seed, so the seeds are words that `noise.threefry` makes of `seed` and the number.
    """
    numbers = np.arange(count, dtype=np.uint32)
    words, _ = noise_.threefry((seed, 2**32 - 1), (numbers, np.zeros_like(numbers)))
    return [torch.Generator().manual_seed(int(word)) for word in words]


class _Run:
    """One run of a pipeline, listened to: steps, timesteps, evaluations."""

    def __init__(self, model: PipelineModel, shape: tuple[int, ...], callback, keep: bool):
        self.model, self.shape, self.callback, self.keep = model, shape, callback, keep
        self.steps: list[Step] = []
        self.timesteps: list[int | float] = []
        self.rows = 0
        self.x = self.x0 = None
        self._pending: dict | None = None
        self.guided: Guided | None = None
        self._by_callback = "callback_on_step_end" in model._call

    def __enter__(self) -> _Run:
        self._stack = ExitStack()
        self._stack.enter_context(_listening(self.model.scheduler, self._stepped))
        for name in self.model.family.denoisers:
            self._stack.enter_context(self.counting(getattr(self.model.pipeline, name)))
        return self

    def guide(self, rule, conditions: dict) -> None:
        """Let the rule combine what the network answers; the branches beside the prompt's are counted too."""
        model, layout = self.model, self.model.family.layout

        def packed(state: Tensor) -> Tensor:
            if layout == "rows":
                return state.flatten(2).transpose(1, 2)
            return model.pipeline._pack_latents(state, *self.shape) if layout == "packed" else state

        self.guided = Guided(
            rule,
            conditions,
            model.scheduler,
            lambda: len(self.timesteps),
            lambda state: model.unpacked(state, self.shape),
            packed,
            tuple(inspect.signature(type(model.denoiser).forward).parameters)[1:],
            model.family.minus,
        )
        self._stack.enter_context(answering(model.denoiser, self.guided))

    def __exit__(self, *exc) -> None:
        self._stack.close()

    @property
    def nfe(self) -> int:
        """Evaluations of the networks a picture."""
        return (self.rows if self.guided is None else self.guided.rows) // self.shape[0]

    @contextmanager
    def counting(self, module):
        """Count the rows that go through a network, and let it take large batches in parts."""

        def count(_module, args, kwargs):
            self.rows += len(state_of(args, kwargs))

        handle = module.register_forward_pre_hook(count, with_kwargs=True)
        try:
            with answering(module, in_parts):
                yield
        finally:
            handle.remove()

    def _stepped(self, model_output: Tensor, t, x_t: Tensor, out) -> None:
        """The scheduler took a step; where the pipeline tells when it is done with it, wait for that."""
        a_t, a_s, x0, eps = _levels(self.model.scheduler, model_output, t, x_t, out)
        self._pending = {"t": _number(t), "a_t": a_t, "a_s": a_s, "x_t": x_t, "x0": x0, "eps": eps}
        if not self._by_callback:
            self._deliver(out[0])

    def step_ended(self, _pipeline, _index, _t, state: dict) -> dict:
        """For `callback_on_step_end`."""
        self._deliver(state["latents"])
        return {}

    def _deliver(self, x_s: Tensor) -> None:
        now, index = self._pending, len(self.timesteps)
        plan = self.model.scheduler.timesteps
        following = _number(plan[index + 1]) if index + 1 < len(plan) else None
        x_t, x_s, x0, eps = (
            self.model.unpacked(part, self.shape).float() for part in (now["x_t"], x_s, now["x0"], now["eps"])
        )
        self.timesteps.append(now["t"])
        self.x, self.x0 = x_s, x0
        step = Step(index, now["t"], following, now["a_t"], now["a_s"], x_t, eps, x0, x_s, self.nfe)
        if self.keep:
            self.steps.append(step)
        last = index == len(plan) - 1
        if self.callback is not None and self.callback(index, len(plan), step) is False and not last:
            raise _Stopped


@contextmanager
def _listening(scheduler, heard):
    """Call heard(model_output, timestep, sample, result) after each `scheduler.step`, for a while."""
    original = scheduler.step
    parameters = inspect.signature(original)

    @functools.wraps(original)  # pipelines look at its signature
    def step(*args, **kwargs):
        given = parameters.bind(*args, **kwargs).arguments
        result = original(*args, **kwargs)
        parts = result if isinstance(result, tuple) else result.to_tuple()
        heard(given["model_output"], given["timestep"], given["sample"], parts)
        return result

    scheduler.step = step
    try:
        yield
    finally:
        del scheduler.step


@contextmanager
def _no_cuts_logged(pipeline):
    """Without diffusers' own log line about texts that are cut: `sample` has warned of them, encoder by encoder."""

    def wanted(record: logging.LogRecord) -> bool:
        return "of your input was truncated" not in record.getMessage()

    logger = logging.getLogger(type(pipeline).__module__)
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def _levels(scheduler, output: Tensor, t, x_t: Tensor, out: tuple) -> tuple[float, float, Tensor, Tensor]:
    """alpha_bar before and after a step, and the picture and the noise that it took to be in x_t.

    With x_t = a x0 + b eps, alpha_bar is a^2 / (a^2 + b^2), the picture's share of the variance: for a flow
    a = 1 - sigma and b = sigma, for EDM a = 1 and b = sigma, for a chain the usual one.
    """
    if hasattr(scheduler, "alphas_cumprod") and not scheduler.config.get("use_flow_sigmas"):
        table, here = scheduler.alphas_cumprod, int(t)
        later = [int(s) for s in scheduler.timesteps if int(s) < here]
        a_t, a_s = float(table[here]), float(table[later[0]]) if later else 1.0
        x0 = out[1]
        return a_t, a_s, x0, (x_t - sqrt(a_t) * x0) / sqrt(1 - a_t)
    now, after = (float(s) for s in scheduler.sigmas[scheduler.step_index - 1 : scheduler.step_index + 1])
    if hasattr(scheduler, "precondition_outputs"):  # EDM's
        x0 = scheduler.precondition_outputs(x_t, output, now)
        return 1 / (1 + now**2), 1 / (1 + after**2), x0, (x_t - x0) / now
    share = [(1 - s) ** 2 / ((1 - s) ** 2 + s**2) for s in (now, after)]
    return share[0], share[1], x_t - now * output, x_t + (1 - now) * output


def _number(t) -> int | float:
    value = float(t)
    return int(value) if value.is_integer() else value
