"""`TextToImage.sample`: from prompts to pictures, whatever answers for the noise.

A denoiser answers one question: which noise is in x_t? A model brings one that reads texts (`checkpoints.adapters` has
those over diffusers' networks); its guidance rule says which texts it is asked about, and the sampler asks.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from . import noise as noise_
from .errors import NotFiniteError, PromptError, allowed, check_choice, check_integer, check_number
from .guidance import (
    COND,
    NEG,
    UNCOND,
    ClassifierFree,
    NegativePrompt,
    Predictions,
    Rule,
    Unconditional,
    guided_x0,
    others_of,
)
from .samplers import SAMPLERS, Moment, NoiseSource, Step, trajectory
from .schedules import SPACINGS, NoiseSchedule

Callback = Callable[[int, int, Step], bool | None]

# Arguments of `TextToImage.sample` that not every model takes; `TextToImage.options` has those that this one does.
OPTIONS = (
    "negative_prompt",
    "guidance_scale",
    "sampler",
    "eta",
    "guidance",
    "latents",
    "noise",
    "spacing",
)


@dataclass
class Samples:
    """What `TextToImage.sample` returns, for B pictures: those of the first prompt, then the second's ..."""

    images: Tensor  # (B, 3, H, W) float32 in [0, 1], on the CPU
    latents: Tensor  # (B, C, h, w), the end of the run
    trajectory: list[Step]  # a step each: .t, .alpha_bar_t, .x_t, .eps, .x0, .x_s; empty if it was not kept
    timesteps: Tensor  # (steps,) int64, those that were run
    nfe: int  # U-Net evaluations a picture; under guidance each branch counts
    seconds: float  # wall time: text, loop and decoding
    prompts: list[str | None]  # (B,)
    seed: int
    stopped: bool = False  # True where the callback ended the run; images then show the last predicted x0
    decode: Callable[[Tensor], Tensor] = field(default=None, repr=False)  # latents (N, C, h, w) -> pictures

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"Samples({len(self)} of {tuple(self.images.shape[1:])}, {len(self.timesteps)} steps, "
            f"nfe {self.nfe}, {self.seconds:.2f} s)"
        )

    def pil(self) -> list:
        """The pictures as B PIL images."""
        from PIL import Image

        array = (self.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(a) for a in array]


class TextToImage:
    """A text-to-image model: `sample` makes pictures; `encode_text`, `eps`, `encode` and `decode` are its parts.

    Args:
        adapter: eps(x_t, t, condition), encode_text (texts to a condition), encode (pictures to latents), decode
            (latents to pictures), latent_shape, device and dtype, such as `checkpoints.StableDiffusionAdapter`.
        schedule: the chain of noise levels that it was trained on.
        name: where it came from, for messages and labels.
        check_prompt: called as check_prompt(text, argument_name) for every prompt; raises ValueError for
            words that the model does not know, and returns the text as the encoder is to read it, or None: as it is.

    options: the names in `OPTIONS` that `sample` takes; here all, fewer for a model that runs its own loop.
    defaults: what `sample` takes for num_inference_steps, guidance_scale and sampler where they are None.
    cuts: whether a text of more tokens than the encoder reads is cut, with a warning, as diffusers does; else refused.
    progress: whether `sample` shows a bar of its steps unless told otherwise.
    """

    options: frozenset[str] = frozenset(OPTIONS)
    progress = False
    asks_others = True  # whether rules may ask further denoisers, as autoguidance does its weak one
    offloaded = None  # the diffusers pipeline whose hooks move the modules, where memory is short
    # called before `sample` asks the network about a step, with the branches in the order of its rows
    asking: Callable[[Moment, tuple[str, ...]], None] | None = None
    defaults: Mapping[str, object] = MappingProxyType(
        {"num_inference_steps": 20, "guidance_scale": 4.0, "sampler": "ddim"}
    )

    def __init__(
        self,
        adapter,
        schedule: NoiseSchedule,
        name: str = "model",
        check_prompt: Callable[[str, str], str | None] | None = None,
    ):
        self.adapter, self.schedule, self.name, self.check_prompt = adapter, schedule, name, check_prompt
        self.cuts = check_prompt is None  # a language with a check of its own has no texts that long
        self.eps, self.encode_text = adapter.eps, adapter.encode_text
        self.encode, self.decode = adapter.encode, adapter.decode

    @property
    def device(self) -> torch.device:
        return self.adapter.device

    @property
    def dtype(self) -> torch.dtype:
        return self.adapter.dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one latent."""
        return self.adapter.latent_shape

    def __repr__(self) -> str:
        return f"TextToImage({self.name!r}, latents {self.latent_shape}, {self.device}, {self.dtype})"

    @torch.no_grad()
    def sample(
        self,
        prompt: str | Sequence[str] | None,
        negative_prompt: str | Sequence[str] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        eta: float = 0.0,
        seed: int = 0,
        num_images: int = 1,
        guidance: Rule | None = None,
        callback: Callback | None = None,
        *,
        latents: Tensor | None = None,
        noise: NoiseSource | None = None,
        keep_trajectory: bool = True,
        spacing: str | None = None,
        progress: bool | None = None,
        negatives: Sequence[str] | None = None,
    ) -> Samples:
        """Pictures for a prompt.

        Args:
            prompt: text, or several texts for one batch. None samples without a prompt (guidance_scale then
                does nothing unless there is a negative prompt).
            negative_prompt: what to steer away from, one for all or one a prompt. It takes the empty prompt's
                place, so at guidance_scale 1 it has no effect, and a UserWarning says so.
            num_inference_steps: 1 to the schedule's length, 1000 for Stable Diffusion. For this and the next two
                None stands for the model's own `defaults`: 20 steps, scale 4 and "ddim", or what a model that was
                distilled to few steps is made for.
            guidance_scale: diffusers' convention, 1 is the conditional model (the paper's w is this minus 1).
                Unlike diffusers, which guides above 1 only, every finite value is taken as it stands.
            sampler: a key of `samplers.SAMPLERS`.
            eta: in [0, 1], the noise of sampler "ddim": 0 is deterministic, 1 is DDPM's.
            seed: an integer in [0, 2**32). Picture i has noise of its own, whatever the number of pictures.
            num_images: pictures a prompt.
            guidance: a rule from `guidance`, instead of the one that guidance_scale and negative_prompt stand
                for.
            callback: called after each step as callback(step_index, num_steps, step). Returning False ends
                the run, an exception ends it and passes through.
            latents: (B, C, h, w) initial noise instead of the seed's; B is prompts times num_images.
            noise: a function from the step to the noise that it adds, (B, C, h, w), instead of the seed's.
            keep_trajectory: False saves memory, about three latents a step.
            spacing: "leading", "linspace" or "trailing", which levels the steps visit; None is the schedule's.
            progress: whether to show a bar of the steps; None is the model's own setting.
            negatives: several texts to steer every picture away from at once: the branches neg0, neg1 ... of a
                rule that has them, such as `guidance.SeveralNegatives`.

        Raises ValueError, or a subclass, that names the argument, its value and what is allowed.
        """
        start = time.perf_counter()
        num_inference_steps, guidance_scale, sampler = self._settings(
            num_inference_steps, guidance_scale, sampler
        )
        prompts = self._prompts(prompt)
        negative = self._negatives(negative_prompt, len(prompts))
        several = self._several(negatives, len(prompts))
        steps = check_integer(
            "num_inference_steps", num_inference_steps, 1, self.schedule.num_train_timesteps
        )
        guidance_scale = check_number("guidance_scale", guidance_scale)
        check_choice("sampler", sampler, SAMPLERS)
        seed, num_images, eta = check_run(seed, num_images, eta)
        if spacing is not None:
            check_choice("spacing", spacing, SPACINGS)
        if eta and sampler != "ddim":
            raise ValueError(f"eta is {eta:g}; allowed with sampler {sampler!r}: 0 (eta belongs to 'ddim')")
        rule = self._rule(guidance, guidance_scale, prompt, negative, several)

        shape = (len(prompts) * num_images, *self.latent_shape)
        if latents is None:
            latents = noise_.gaussian(shape, seed)
        elif not isinstance(latents, Tensor) or latents.shape != shape:
            got = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
            raise ValueError(allowed("latents", got, f"a tensor {shape}"))
        x = latents.to(self.device, torch.float32)
        if noise is None and (SAMPLERS[sampler].stochastic or eta > 0):
            noise = noise_.step_noise(shape, seed)

        texts = {UNCOND: [None] * len(prompts), COND: prompts, NEG: negative, **several}
        run: list[Step] = []
        timesteps: list[int] = []
        stopped = False
        try:
            others = others_of(rule)
            conditions = {
                b: others.get(b, self)
                .encode_text(texts[COND if b in others else b])
                .repeat_interleave(num_images, 0)
                for b in rule.branches
            }
            denoiser = _Guided(self, rule, conditions, others)
            walk = trajectory(denoiser, x, self.schedule, steps, sampler, eta, noise, spacing)
            for step in step_bar(walk, steps) if (self.progress if progress is None else progress) else walk:
                timesteps.append(step.t)
                x = step.x_s
                if keep_trajectory:
                    run.append(step)
                going = callback is None or callback(step.index, steps, step) is not False
                if not going and step.index < steps - 1:
                    stopped = True
                    break
            images = self.decode(step.x0 if stopped else x)
        finally:
            if self.offloaded is not None:
                self.offloaded.maybe_free_model_hooks()
        return Samples(
            images=images,
            latents=x,
            trajectory=run,
            timesteps=torch.tensor(timesteps),
            nfe=denoiser.nfe,
            seconds=time.perf_counter() - start,
            prompts=[p for p in prompts for _ in range(num_images)],
            seed=seed,
            stopped=stopped,
            decode=self.decode,
        )

    def _settings(self, num_inference_steps, guidance_scale, sampler) -> tuple:
        """The three, with the model's own `defaults` where they are None."""
        given = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "sampler": sampler,
        }
        return tuple(self.defaults[name] if value is None else value for name, value in given.items())

    def _rule(self, guidance, guidance_scale: float, prompt, negatives, several) -> Rule:
        if several and not set(several) <= set(getattr(guidance, "branches", ())):
            raise ValueError(
                f"guidance is {guidance!r}; allowed with {len(several)} negatives: a rule that has the branches "
                f"{', '.join(several)}, such as SeveralNegatives"
            )
        if guidance is None:
            if negatives is not None:
                guidance = NegativePrompt(guidance_scale)
            else:
                guidance = Unconditional() if prompt is None else ClassifierFree(guidance_scale)
            if negatives is not None and NEG not in guidance.branches:
                warnings.warn(
                    f"negative_prompt has no effect at guidance_scale {guidance_scale:g}: the rule is "
                    "eps_neg + s (eps_pos - eps_neg), and at s = 1 eps_neg drops out",
                    stacklevel=4,
                )
            return guidance
        others = others_of(guidance) if self.asks_others else {}
        for branch, denoiser in others.items():
            shape = getattr(denoiser, "latent_shape", self.latent_shape)
            if tuple(shape) != tuple(self.latent_shape):
                raise ValueError(
                    allowed(f"{branch}.latent_shape", tuple(shape), f"{self.latent_shape}, the model's")
                )
        known = (UNCOND, COND, NEG, *several, *others)
        if not callable(guidance) or not set(getattr(guidance, "branches", ("?",))) <= set(known):
            raise ValueError(
                allowed("guidance", guidance, f"a rule of diffusion_tutorial.guidance, branches of {known}")
            )
        if NEG in guidance.branches and negatives is None:
            raise ValueError(f"negative_prompt is None; allowed with guidance {guidance!r}: a text")
        if negatives is not None and NEG not in guidance.branches:
            warnings.warn(
                f"negative_prompt has no effect: guidance {guidance!r} does not use it", stacklevel=4
            )
        return guidance

    def _prompts(self, prompt) -> list[str | None]:
        if prompt is None:
            return [None]
        prompts = [prompt] if isinstance(prompt, str) else list(prompt) if _is_list(prompt) else None
        if not prompts:
            raise PromptError(allowed("prompt", prompt, "a text, a list of texts, or None for no prompt"))
        for text in prompts:
            if isinstance(text, str) and not text.strip():
                raise PromptError(
                    "prompt is empty; allowed: a text that says what to draw, or None for no prompt"
                )
        return [self._checked("prompt", text) for text in prompts]

    def _negatives(self, negative_prompt, count: int) -> list[str] | None:
        if negative_prompt is None:
            return None
        if isinstance(negative_prompt, str):
            negatives = [negative_prompt] * count
        elif _is_list(negative_prompt) and len(negative_prompt) == count:
            negatives = list(negative_prompt)
        else:
            raise PromptError(
                allowed("negative_prompt", negative_prompt, f"a text, or a list of {count}, one a prompt")
            )
        known = {
            text: text if text == "" else self._checked("negative_prompt", text)
            for text in dict.fromkeys(negatives)
        }
        return [known[text] for text in negatives]

    def _several(self, negatives, count: int) -> dict[str, list[str]]:
        if negatives is None:
            return {}
        if not _is_list(negatives) or not negatives:
            raise PromptError(allowed("negatives", negatives, "a list of texts, at least one"))
        known = [text if text == "" else self._checked("negatives", text) for text in negatives]
        return {f"{NEG}{i}": [text] * count for i, text in enumerate(known)}

    def _checked(self, name: str, text: object) -> str:
        """The text as the encoder is to read it. Raises PromptError unless it can."""
        if not isinstance(text, str):
            raise PromptError(allowed(name, text, "text"))
        if self.check_prompt is not None and text.strip():
            text = self.check_prompt(text, name) or text
        tokens, limit, marks = self.adapter.count_tokens(text), self.adapter.max_tokens, self.adapter.marks
        if tokens > limit and not self.cuts:
            raise PromptError(
                f"{name} is {short(text)!r}, {tokens - marks} tokens; allowed: at most {limit - marks} tokens"
            )
        if tokens > limit:
            for encoder, read, removed in self.adapter.beyond(text):
                warnings.warn(cut(name, text, encoder, read, removed), stacklevel=6)
        return text


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def short(text: str) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= 60 else text[:57] + "..."


def cut(name: str, text: str, encoder: str, limit: int, removed: str) -> str:
    """The warning where an encoder reads `limit` tokens, its marks included, and `removed` of the text is left out."""
    return (
        f"{name} is {short(text)!r}, more than the {limit} tokens, marks included, that {encoder} reads; "
        f"it does not see: {removed!r}"
    )


def check_run(seed: object, num_images: object, eta: object) -> tuple[int, int, float]:
    """What every kind of run takes. Raises ValueError that names the argument, its value and what is allowed."""
    return (
        check_integer("seed", seed, 0, 2**32 - 1),
        check_integer("num_images", num_images, 1),
        check_number("eta", eta, 0.0, 1.0),
    )


def step_bar(steps, count: int):
    """`steps` with a progress bar of `count`, on stderr or in the notebook."""
    from tqdm.auto import tqdm  # comes with huggingface_hub

    return tqdm(steps, total=count, unit="step")


class _Guided:
    """The denoiser of one run: the branches that the rule needs, in one U-Net call, mapped to one eps."""

    def __init__(
        self, model: TextToImage, rule: Rule, conditions: Mapping[str, Tensor], others: Mapping[str, object]
    ):
        self.model, self.rule, self.conditions, self.others = model, rule, conditions, others
        self.memory: dict = {}
        self.joined: dict[tuple[str, ...], Tensor] = {}
        self.nfe = 0
        adapter = getattr(model, "adapter", None)
        if getattr(getattr(adapter, "predicts", None), "name", "epsilon") == "epsilon":
            self.x0_of_noise = None  # the noise in pure noise is x_t, whatever the picture

    def at(self, x_t: Tensor, moment: Moment) -> Tensor:
        eps = self._ask("eps", x_t, moment)
        guided = self.rule(Predictions(eps, x_t, self.memory), moment)
        return checked(self.rule, eps, guided, x_t, moment)

    def x0_of_noise(self, x_t: Tensor, moment: Moment) -> Tensor:
        """The guided picture at alpha_bar = 0, where v and a velocity tell it and the noise does not."""
        x0 = self._ask("x0", x_t, moment)
        return checked(self.rule, x0, guided_x0(self.rule, x0, x_t, moment, self.memory), x_t, moment)

    def _ask(self, what: str, x_t: Tensor, moment: Moment) -> dict[str, Tensor]:
        """ "eps" or "x0" by branch: the model's own in one call, those of other denoisers in one each."""
        needed = tuple(self.rule.needs(moment))
        groups = [(self.model, tuple(b for b in needed if b not in self.others))]
        groups += [(self.others[b], (b,)) for b in needed if b in self.others]
        found: dict[str, Tensor] = {}
        for denoiser, branches in groups:
            if not branches:
                continue
            if branches not in self.joined:
                self.joined[branches] = torch.cat([self.conditions[b] for b in branches])
            if denoiser is self.model and self.model.asking is not None:
                self.model.asking(moment, branches)
            network = getattr(getattr(denoiser, "adapter", denoiser) if what == "x0" else denoiser, what)
            with torch.inference_mode():  # the network alone: a rule may take gradients of its own
                out = network(x_t.repeat(len(branches), 1, 1, 1), moment.t, self.joined[branches])
            out = out.clone()  # outside the mode, so that a reader may put it into autograd
            found |= zip(branches, out.chunk(len(branches)), strict=True)
        self.nfe += len(needed)
        return found


def checked(
    rule: Rule | None, predictions: Mapping[str, Tensor], guided: Tensor, x_t: Tensor, moment: Moment
) -> Tensor:
    """`guided` itself. Raises NotFiniteError that says which of x_t, the network and the rule it comes from."""
    if bool(guided.isfinite().all()):
        return guided
    where = f"at step {moment.step + 1} of {moment.steps} (t = {moment.t:g})"
    if not bool(x_t.isfinite().all()):
        raise NotFiniteError(
            f"x_t has NaN or infinite numbers {where}; allowed: finite initial latents and noise"
        )
    for branch, value in predictions.items():
        if not bool(value.isfinite().all()):
            size = float(x_t.abs().max())
            if size > 1e4:  # states have a size of about 1
                raise NotFiniteError(
                    f"guidance is {rule!r}, and x_t has grown to {size:.3g} {where}, of which the network makes NaN "
                    "or infinite numbers; allowed: weights, and initial latents, that keep x_t near 1"
                )
            raise NotFiniteError(
                f"the network's prediction {branch!r} has NaN or infinite numbers {where}, from a finite x_t; "
                "allowed: finite weights, in a dtype that holds them (dtype='bfloat16' or 'float32' where float16 "
                "overflows)"
            )
    raise NotFiniteError(
        f"guidance is {rule!r}, which makes NaN or infinite numbers of finite predictions {where}; "
        "allowed: weights whose results the dtype holds"
    )


@dataclass
class Many:
    """What `sample_many` returns."""

    images: Tensor  # (N, 3, H, W) float32 in [0, 1], on the CPU
    latents: Tensor  # (N, C, h, w)
    nfe: int  # U-Net evaluations a picture
    seconds: float  # wall time of the sampling


def sample_many(
    model: TextToImage,
    prompts: Sequence[str | None],
    seed: int = 0,
    chunk: int = 125,
    *,
    latents: Tensor | None = None,
    rule_of: Callable[[slice], Rule] | None = None,
    **arguments,
) -> Many:
    """One picture a prompt, any number of them, in chunks that memory can take.

    Picture i has the same noises whatever the chunk: those of image i of the seed.

    Args:
        prompts: N texts; None for a picture without one.
        seed: of the noises; see `noise.gaussian`.
        chunk: pictures a call of `model.sample`.
        latents: (N, C, h, w) initial states instead of the seed's.
        rule_of: rows -> the guidance rule of these pictures, for rules that differ from picture to picture.
        arguments: of `model.sample`, the same for all chunks.

    Raises what `model.sample` raises, and ValueError for no prompts.
    """
    check_integer("chunk", chunk, 1)
    if not len(prompts):
        raise ValueError(allowed("prompts", prompts, "at least one text, or None for a picture without one"))
    parts, start = [], time.perf_counter()
    for first in range(0, len(prompts), chunk):
        rows = slice(first, min(first + chunk, len(prompts)))
        shape = (rows.stop - first, *model.latent_shape)
        own = {} if rule_of is None else {"guidance": rule_of(rows)}
        same = set(prompts[rows]) == {None}  # `sample` takes one None, for as many pictures as are wanted
        parts.append(
            model.sample(
                None if same else list(prompts[rows]),
                num_images=shape[0] if same else 1,
                latents=noise_.gaussian(shape, seed, first=first) if latents is None else latents[rows],
                noise=noise_.step_noise(shape, seed, first=first),
                keep_trajectory=False,
                **own,
                **arguments,
            )
        )
    return Many(
        torch.cat([part.images for part in parts]),
        torch.cat([part.latents for part in parts]),
        parts[-1].nfe,
        time.perf_counter() - start,
    )
