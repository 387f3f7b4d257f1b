"""From a denoiser to pictures: the interface, the adapter over a diffusers pipeline, and
`TextToImage.sample`.

A denoiser answers one question, `eps(x_t, t, condition)`: which noise is in x_t? Samplers and guidance rules
know nothing else. The adapter asks it of a U-Net in Stable Diffusion's layout (Rombach et al. 2022): a CLIP
text encoder turns the prompt into the condition, the U-Net denoises latents, the autoencoder turns latents
into pictures.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from . import noise as noise_
from .errors import PromptError, UnsupportedModelError, allowed, check_choice, check_integer, check_number
from .guidance import COND, NEG, UNCOND, ClassifierFree, NegativePrompt, Predictions, Rule, Unconditional
from .samplers import SAMPLERS, NoiseSource, Step, trajectory
from .schedules import SPACINGS, NoiseSchedule

# Schedulers over the same chain of noise variances: any of our samplers may take their place. What is not
# here (flow matching, EDM, cascades) is refused by its class, whatever its prediction_type says.
SUPPORTED_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler",
    "UniPCMultistepScheduler",
)

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


class Denoiser(Protocol):
    """What samplers and guidance stand on."""

    def eps(self, x_t: Tensor, t: int | Tensor, condition) -> Tensor:
        """The noise predicted in x_t (B, ...) at timestep t, given the condition; same shape as x_t."""
        ...


class Condition:
    """Rows of a condition that is several tensors, such as text states and their mask; all are (B, ...).

    It is used as a tensor of B rows would be: len, slices, `repeat_interleave`, `split` and `torch.cat`.
    """

    def __init__(self, *parts: Tensor):
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows) -> Condition:
        return Condition(*(part[rows] for part in self.parts))

    def repeat_interleave(self, repeats: int, dim: int = 0) -> Condition:
        return Condition(*(part.repeat_interleave(repeats, dim) for part in self.parts))

    def split(self, size: int) -> tuple[Condition, ...]:
        return tuple(self[k : k + size] for k in range(0, len(self), size))

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not torch.cat:
            return NotImplemented
        columns = zip(*(condition.parts for condition in args[0]), strict=True)
        return cls(*(torch.cat(column) for column in columns))


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


class StableDiffusionAdapter:
    """A denoiser over the components of a `StableDiffusionPipeline`; `adapters` has those of other classes.

    Args:
        unet, vae, text_encoder, tokenizer: the diffusers and transformers objects, all on one device.
        max_rows: at most so many rows go through the U-Net in one call; larger batches are cut.
        decode_rows: the same for the autoencoder.
        v_schedule: for a network that predicts v, the noise levels of its chain; None: it predicts the noise.
        device: where to compute, when the modules wait elsewhere and are moved there by hooks.

    A prediction of v is turned into one of the noise by eps = sqrt(alpha_bar) v + sqrt(1 - alpha_bar) x_t
    (Salimans and Ho 2022, appendix D). Guidance may come after that: its weights add up to one, so the x_t that
    all branches share passes through, and guiding v or guiding eps is the same.

    Raises UnsupportedModelError for a U-Net that wants more than a text condition.
    """

    marks = 2  # tokens that the tokenizer adds to a text: start and end

    def __init__(
        self,
        unet,
        vae,
        text_encoder,
        tokenizer,
        max_rows: int = 64,
        decode_rows: int = 8,
        v_schedule: NoiseSchedule | None = None,
        device: torch.device | None = None,
    ):
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self._check()
        for module in self.modules:
            module.eval().requires_grad_(False)
        self.max_rows, self.decode_rows, self.v_schedule = max_rows, decode_rows, v_schedule
        self.device = unet.device if device is None else torch.device(device)
        self.dtype = unet.dtype
        size = unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        self.latent_shape = (unet.config.in_channels, height, width)
        self._cache: OrderedDict[str | None, tuple[Tensor, ...]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def modules(self) -> tuple:
        return self.unet, self.vae, self.text_encoder

    def _check(self) -> None:
        self._check_channels(self.unet.config.out_channels)
        for name in ("addition_embed_type", "class_embed_type", "time_cond_proj_dim"):
            if self.unet.config.get(name) is not None:
                raise UnsupportedModelError(
                    allowed(f"unet {name}", self.unet.config.get(name), "None (Stable Diffusion 1 layout)")
                )

    def _check_channels(self, out_channels: int) -> None:
        pair, wanted = (self.unet.config.in_channels, out_channels), self.vae.config.latent_channels
        if pair != (wanted, wanted):
            raise UnsupportedModelError(
                allowed(
                    "unet channels (in, out)", pair, f"the autoencoder's latent_channels, {wanted}, for both"
                )
            )

    @property
    def max_tokens(self) -> int:
        """How many tokens a prompt may have, those that the tokenizer adds included."""
        return min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)

    def count_tokens(self, prompt: str) -> int:
        """Tokens of the prompt, those that the tokenizer adds included."""
        return len(self.tokenizer(prompt, truncation=False, verbose=False).input_ids)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str | None]) -> Tensor | Condition:
        """The condition of n prompts, here text embeddings (n, tokens, width); None is the unconditional one.

        Results are remembered.
        """
        missing = [p for p in dict.fromkeys(prompts) if p not in self._cache]
        fresh = {}
        for start in range(0, len(missing), self.max_rows):
            part = missing[start : start + self.max_rows]
            fresh.update(zip(part, zip(*self._encode(part), strict=True), strict=True))
        with self._lock:
            known = {p: fresh[p] if p in fresh else self._cache[p] for p in dict.fromkeys(prompts)}
            self._cache.update(known)
            while len(self._cache) > 256:
                self._cache.popitem(last=False)
        parts = [torch.stack(column) for column in zip(*(known[p] for p in prompts), strict=True)]
        return parts[0] if len(parts) == 1 else Condition(*parts)

    def _encode(self, prompts: Sequence[str | None]) -> tuple[Tensor, ...]:
        """The tensors of the condition, n rows each."""
        tokens = self.tokenizer(
            [p or "" for p in prompts],
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        )
        use_mask = getattr(self.text_encoder.config, "use_attention_mask", False)
        mask = tokens.attention_mask.to(self.device) if use_mask else None
        states = self.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0]
        return (states.to(self.dtype),)

    def eps(self, x_t: Tensor, t: int | Tensor, condition) -> Tensor:
        """The noise predicted in x_t (B, C, h, w) at timestep t (an integer, or one a row).

        condition: what `encode` returns, B rows; a prompt; B prompts; or None for the unconditional prediction.
        """
        if condition is None or isinstance(condition, str):
            condition = [condition] * len(x_t)
        if not isinstance(condition, (Tensor, Condition)):
            condition = self.encode(condition)
        if len(condition) != len(x_t):
            raise ValueError(allowed("condition", f"{len(condition)} rows", f"{len(x_t)}, one a row of x_t"))
        rows = x_t.to(self.device, self.dtype)
        t = (
            t.to(self.device)
            if isinstance(t, Tensor) and t.ndim
            else torch.tensor(int(t), device=self.device)
        )
        parts = []
        for start in range(0, len(rows), self.max_rows):
            part = slice(start, start + self.max_rows)
            parts.append(self._predict(rows[part], t[part] if t.ndim else t, condition[part]))
        out = (parts[0] if len(parts) == 1 else torch.cat(parts)).to(x_t)
        if self.v_schedule is None:
            return out
        alpha_bar = self.v_schedule.alphas_cumprod[t.cpu()].reshape(-1, 1, 1, 1)
        return alpha_bar.sqrt().to(out) * out + (1 - alpha_bar).sqrt().to(out) * x_t

    def _predict(self, rows: Tensor, t: Tensor, condition) -> Tensor:
        """One call of the network: its prediction for rows (B, C, h, w), same shape."""
        return self.unet(rows, t, encoder_hidden_states=condition, return_dict=False)[0]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pictures (B, 3, H, W), float32 in [0, 1], on the CPU."""
        return decode_latents(self.vae, latents.to(self.device), self.decode_rows)


def decode_latents(vae, latents: Tensor, rows: int = 8) -> Tensor:
    """An autoencoder's pictures (B, 3, H, W), float32 in [0, 1] on the CPU, of latents (B, C, h, w).

    rows: at most so many at a time. The latents' scale, shift, mean and deviation are in the autoencoder's config.
    """
    config = vae.config
    scaled = latents.to(vae.dtype)
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and deviation is not None:
        mean, deviation = (torch.tensor(v).view(1, -1, 1, 1).to(scaled) for v in (mean, deviation))
        scaled = scaled * deviation / config.scaling_factor + mean
    else:
        scaled = scaled / config.scaling_factor + (config.get("shift_factor") or 0.0)
    parts = [vae.decode(part, return_dict=False)[0] for part in scaled.split(rows)]
    return (torch.cat(parts).float() / 2 + 0.5).clamp(0, 1).cpu()


class TextToImage:
    """A text-to-image model: `sample` makes pictures, `eps`, `encode` and `decode` are its parts.

    Args:
        adapter: a denoiser with encode, decode, latent_shape, device and dtype, such as
            `StableDiffusionAdapter`.
        schedule: the chain of noise levels that it was trained on.
        name: where it came from, for messages and labels.
        check_prompt: called as check_prompt(text, argument_name) for every prompt; raises ValueError for
            words that the model does not know.

    options: the names in `OPTIONS` that `sample` takes; here all, fewer for a model that runs its own loop.
    progress: whether `sample` shows a bar of its steps unless told otherwise.
    """

    options: frozenset[str] = frozenset(OPTIONS)
    progress = False
    offloaded = None  # the diffusers pipeline whose hooks move the modules, where memory is short

    def __init__(
        self,
        adapter,
        schedule: NoiseSchedule,
        name: str = "model",
        check_prompt: Callable[[str, str], None] | None = None,
    ):
        self.adapter, self.schedule, self.name, self.check_prompt = adapter, schedule, name, check_prompt
        self.eps, self.encode, self.decode = adapter.eps, adapter.encode, adapter.decode

    @classmethod
    def from_pipeline(cls, pipeline, name: str = "pipeline", check_prompt=None) -> TextToImage:
        """Around a diffusers pipeline of a class in `families.FAMILIES`; its components are shared, not copied.

        Raises UnsupportedModelError for other classes, and for a scheduler or a network that cannot be driven.
        """
        from .families import wrap

        return wrap(pipeline, name, check_prompt=check_prompt)

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
        num_inference_steps: int = 20,
        guidance_scale: float = 4.0,
        sampler: str = "ddim",
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
            num_inference_steps: 1 to the schedule's length, 1000 for Stable Diffusion.
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
        prompts = self._prompts(prompt)
        negative = self._negatives(negative_prompt, len(prompts))
        several = self._several(negatives, len(prompts))
        steps = check_integer(
            "num_inference_steps", num_inference_steps, 1, self.schedule.num_train_timesteps
        )
        guidance_scale = check_number("guidance_scale", guidance_scale)
        check_choice("sampler", sampler, SAMPLERS)
        eta = check_number("eta", eta, 0.0, 1.0)
        seed = check_integer("seed", seed, 0, 2**32 - 1)
        num_images = check_integer("num_images", num_images, 1)
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
        conditions = {b: self.encode(texts[b]).repeat_interleave(num_images, 0) for b in rule.branches}
        denoiser = _Guided(self, rule, conditions, self.schedule, steps, spacing)
        run: list[Step] = []
        timesteps: list[int] = []
        stopped = False
        walk = trajectory(denoiser, x, self.schedule, steps, sampler, eta, noise, spacing)
        for step in step_bar(walk, steps) if (self.progress if progress is None else progress) else walk:
            timesteps.append(step.t)
            x = step.x_s
            if keep_trajectory:
                run.append(step)
            if callback is not None and callback(step.index, steps, step) is False and step.index < steps - 1:
                stopped = True
                break
        images = self.decode(step.x0 if stopped else x)
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

    def _rule(self, guidance, guidance_scale: float, prompt, negatives, several) -> Rule:
        if several and not set(several) <= set(getattr(guidance, "branches", ())):
            raise ValueError(
                f"negatives has {len(several)} texts; allowed: with a rule in guidance that has the branches "
                f"{', '.join(several)}, such as SeveralNegatives, got {guidance!r}"
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
        known = (UNCOND, COND, NEG, *several)
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
        prompts = (
            [prompt] if isinstance(prompt, str) else list(prompt) if isinstance(prompt, Sequence) else None
        )
        if not prompts:
            raise PromptError(allowed("prompt", prompt, "a text, a list of texts, or None for no prompt"))
        for text in prompts:
            if isinstance(text, str) and not text.strip():
                raise PromptError(
                    "prompt is empty; allowed: a text that says what to draw, or None for no prompt"
                )
            self._check_text("prompt", text)
        return prompts

    def _negatives(self, negative_prompt, count: int) -> list[str] | None:
        if negative_prompt is None:
            return None
        if isinstance(negative_prompt, str):
            negatives = [negative_prompt] * count
        elif isinstance(negative_prompt, Sequence) and len(negative_prompt) == count:
            negatives = list(negative_prompt)
        else:
            raise PromptError(
                allowed("negative_prompt", negative_prompt, f"a text, or a list of {count}, one a prompt")
            )
        for text in dict.fromkeys(negatives):
            if text != "":
                self._check_text("negative_prompt", text)
        return negatives

    def _several(self, negatives, count: int) -> dict[str, list[str]]:
        if negatives is None:
            return {}
        if isinstance(negatives, str) or not isinstance(negatives, Sequence) or not negatives:
            raise PromptError(allowed("negatives", negatives, "a list of texts, at least one"))
        for text in negatives:
            if text != "":
                self._check_text("negatives", text)
        return {f"{NEG}{i}": [text] * count for i, text in enumerate(negatives)}

    def _check_text(self, name: str, text: object) -> None:
        if not isinstance(text, str):
            raise PromptError(allowed(name, text, "text"))
        if self.check_prompt is not None and text.strip():
            self.check_prompt(text, name)
        tokens, limit, marks = self.adapter.count_tokens(text), self.adapter.max_tokens, self.adapter.marks
        if tokens > limit:
            shown = text if len(text) <= 60 else text[:57] + "..."
            raise PromptError(
                f"{name} is {shown!r}, {tokens - marks} tokens; allowed: at most {limit - marks} tokens"
            )


def step_bar(steps, count: int):
    """`steps` with a progress bar of `count`, on stderr or in the notebook."""
    from tqdm.auto import tqdm  # comes with huggingface_hub

    return tqdm(steps, total=count, unit="step")


class _Guided:
    """The denoiser of one run: the branches that the rule needs, in one U-Net call, mapped to one eps."""

    def __init__(
        self, model: TextToImage, rule: Rule, conditions: Mapping[str, Tensor], schedule, steps: int, spacing
    ):
        self.model, self.rule, self.conditions, self.schedule, self.steps = (
            model,
            rule,
            conditions,
            schedule,
            steps,
        )
        self.index = {t: i for i, t in enumerate(schedule.timesteps(steps, spacing).tolist())}
        self.joined: dict[tuple[str, ...], Tensor] = {}
        self.nfe = 0

    def __call__(self, x_t: Tensor, t: int) -> Tensor:
        step, alpha_bar = self.index[t], self.schedule.alpha_bar(t)
        branches = tuple(self.rule.needs(step, self.steps, alpha_bar))
        if branches not in self.joined:
            self.joined[branches] = torch.cat([self.conditions[b] for b in branches])
        with torch.inference_mode():  # the network alone: a rule may take gradients of its own
            eps = self.model.eps(x_t.repeat(len(branches), 1, 1, 1), t, self.joined[branches])
        eps = eps.clone()  # outside the mode, so that a reader may put it into autograd
        self.nfe += len(branches)
        predictions = Predictions(zip(branches, eps.chunk(len(branches)), strict=True), x_t, t)
        return self.rule(predictions, step, self.steps, alpha_bar)


def schedule_of(scheduler_class: str, config: Mapping, steps_offset: int | None = 1) -> NoiseSchedule:
    """The noise levels of a diffusers scheduler, by its class and its config.

    steps_offset: in place of the config's; None leaves that. StableDiffusionPipeline itself puts it to 1 (and
    clip_sample to False), whatever the file says; other pipelines take it as it is.

    Raises UnsupportedModelError for classes and prediction types that our samplers cannot drive.
    """
    if scheduler_class not in SUPPORTED_SCHEDULERS:
        raise UnsupportedModelError(allowed("scheduler", scheduler_class, ", ".join(SUPPORTED_SCHEDULERS)))
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise UnsupportedModelError(
            allowed("scheduler prediction_type", prediction, "'epsilon', 'v_prediction'")
        )
    if any(config.get(key) for key in ("use_flow_sigmas", "thresholding")):
        raise UnsupportedModelError("scheduler has use_flow_sigmas or thresholding set; allowed: neither")
    changes = {} if steps_offset is None else {"steps_offset": steps_offset}
    return NoiseSchedule.from_config({**config, "_class_name": scheduler_class, **changes})
