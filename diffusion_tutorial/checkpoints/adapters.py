"""Denoisers over the components of diffusers pipelines: Stable Diffusion 1 and 2, SDXL and PixArt.

An adapter turns texts into conditions, asks the network for the noise, and turns pictures into latents and back.
What the later ones add to a U-Net with a text condition: a second text encoder and a pooled text, sizes as a
condition, attention masks, and output channels for a variance that our samplers do not use.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import NotFiniteError, UnsupportedModelError, allowed
from ..predictions import prediction
from ..schedules import NoiseSchedule


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


def _time(t: int | float | Tensor) -> Tensor:
    """One timestep as a tensor without dimensions: int64 where it is whole, float64 between."""
    value = float(t)
    return torch.tensor(int(value)) if value.is_integer() else torch.tensor(value, dtype=torch.float64)


class StableDiffusionAdapter:
    """A denoiser over the components of a `StableDiffusionPipeline`; `adapters` has those of other classes.

    Args:
        unet, vae, text_encoder, tokenizer: the diffusers and transformers objects, all on one device.
        max_rows: at most so many rows go through the U-Net in one call; larger batches are cut.
        decode_rows: the same for the autoencoder.
        predicts: a key of `predictions.PREDICTIONS`, what the network answers.
        schedule: the levels of its timesteps; needed for all but "epsilon".
        device: where to compute, when the modules wait elsewhere and are moved there by hooks.
        upcasts: whether an autoencoder in float16 decodes in float32 where its config says `force_upcast`.

    Every answer is turned into one of the noise before guidance. Rules whose weights add up to one do not mind: the
    x_t that all branches share passes through, and guiding v or guiding eps is the same.

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
        predicts: str = "epsilon",
        schedule: NoiseSchedule | None = None,
        device: torch.device | None = None,
        upcasts: bool = False,
    ):
        self.upcasts = upcasts
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self._check()
        for module in self.modules:
            module.eval().requires_grad_(False)
        self.max_rows, self.decode_rows, self.schedule = max_rows, decode_rows, schedule
        self.predicts = prediction(predicts)
        if schedule is None and predicts != "epsilon":
            raise ValueError(allowed("schedule", None, f"the levels of the timesteps, for {predicts!r}"))
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

    def beyond(self, prompt: str) -> list[tuple[str, int, str]]:
        """(encoder, tokens that it reads, text that it does not see), for each encoder that cuts the prompt."""
        return cuts([(self.text_encoder, self.tokenizer, self.max_tokens)], prompt)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str | None]) -> Tensor | Condition:
        """The condition of n prompts, here text embeddings (n, tokens, width); None is the unconditional one.

        Results are remembered.
        """
        missing = [p for p in dict.fromkeys(prompts) if p not in self._cache]
        fresh = {}
        for start in range(0, len(missing), self.max_rows):
            part = missing[start : start + self.max_rows]
            fresh.update(zip(part, zip(*self._encode_text(part), strict=True), strict=True))
        with self._lock:
            known = {p: fresh[p] if p in fresh else self._cache[p] for p in dict.fromkeys(prompts)}
            self._cache.update(known)
            while len(self._cache) > 256:
                self._cache.popitem(last=False)
        parts = [torch.stack(column) for column in zip(*(known[p] for p in prompts), strict=True)]
        return parts[0] if len(parts) == 1 else Condition(*parts)

    def _encode_text(self, prompts: Sequence[str | None]) -> tuple[Tensor, ...]:
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

    def eps(self, x_t: Tensor, t: int | float | Tensor, condition) -> Tensor:
        """The noise predicted in x_t (B, C, h, w) at timestep t (a number, or one a row; whole but for a flow).

        condition: what `encode_text` returns, B rows; a prompt; B prompts; or None for the unconditional prediction.
        """
        out, level = self._answer(x_t, t, condition)
        return self.predicts.to_eps(out, x_t, level)

    def x0(self, x_t: Tensor, t: int | float | Tensor, condition) -> Tensor:
        """The picture predicted in x_t, as `eps`: from v or a velocity also at alpha_bar = 0, pure noise."""
        out, level = self._answer(x_t, t, condition)
        return self.predicts.to_x0(out, x_t, level)

    def _answer(self, x_t: Tensor, t: int | float | Tensor, condition) -> tuple[Tensor, Tensor | float]:
        """What the network itself says, like x_t, and alpha_bar at t."""
        if condition is None or isinstance(condition, str):
            condition = [condition] * len(x_t)
        if not isinstance(condition, (Tensor, Condition)):
            condition = self.encode_text(condition)
        if len(condition) != len(x_t):
            raise ValueError(allowed("condition", f"{len(condition)} rows", f"{len(x_t)}, one a row of x_t"))
        times = t if isinstance(t, Tensor) and t.ndim else _time(t)
        level = 1.0 if self.schedule is None else self.schedule.alpha_bars(times.cpu()).reshape(-1, 1, 1, 1)
        t = (times.float() if times.is_floating_point() else times).to(self.device)
        rows = self.predicts.network_input(x_t, level).to(self.device, self.dtype)
        parts = []
        for start in range(0, len(rows), self.max_rows):
            part = slice(start, start + self.max_rows)
            parts.append(self._predict(rows[part], t[part] if t.ndim else t, condition[part]))
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).to(x_t), level

    def _predict(self, rows: Tensor, t: Tensor, condition) -> Tensor:
        """One call of the network: its prediction for rows (B, C, h, w), same shape."""
        return self.unet(rows, t, encoder_hidden_states=condition, return_dict=False)[0]

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] to latents (B, C, h, w), float32, as the denoiser sees them."""
        return encode_pictures(self.vae, pictures.to(self.device))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pictures (B, 3, H, W), float32 in [0, 1], on the CPU."""
        return decode_latents(self.vae, latents.to(self.device), self.decode_rows, self.upcasts)


class StableDiffusionXLAdapter(StableDiffusionAdapter):
    """A denoiser over the components of a `StableDiffusionXLPipeline` (Podell et al. 2023).

    Text states are the last but one of both encoders, side by side; the second encoder's pooled text and six
    sizes (original, crop, target: here the model's own size, uncropped) are added to the timestep's embedding.
    The unconditional prediction gets zeros for both texts if `force_zeros_for_empty_prompt`, which is not what
    the encoders make of "": a negative prompt of "" is another prediction than none.
    """

    def __init__(
        self,
        unet,
        vae,
        text_encoder,
        tokenizer,
        text_encoder_2,
        tokenizer_2,
        force_zeros_for_empty_prompt: bool = True,
        **options,
    ):
        self.text_encoder_2, self.tokenizer_2 = text_encoder_2, tokenizer_2
        self.force_zeros_for_empty_prompt = force_zeros_for_empty_prompt
        super().__init__(unet, vae, text_encoder, tokenizer, **options)
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        height, width = (scale * side for side in self.latent_shape[1:])
        self.sizes = (height, width, 0, 0, height, width)

    @property
    def modules(self) -> tuple:
        return *super().modules, self.text_encoder_2

    def _check(self) -> None:
        self._check_channels(self.unet.config.out_channels)
        wanted = {"addition_embed_type": "text_time", "class_embed_type": None, "time_cond_proj_dim": None}
        for name, value in wanted.items():
            if self.unet.config.get(name) != value:
                raise UnsupportedModelError(
                    allowed(f"unet {name}", self.unet.config.get(name), f"{value!r} (SDXL layout)")
                )

    def beyond(self, prompt: str) -> list[tuple[str, int, str]]:
        pairs = (self.text_encoder, self.tokenizer), (self.text_encoder_2, self.tokenizer_2)
        return cuts([(*pair, self.max_tokens) for pair in pairs], prompt)

    def _encode_text(self, prompts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        states = []
        for tokenizer, encoder in (
            (self.tokenizer, self.text_encoder),
            (self.tokenizer_2, self.text_encoder_2),
        ):
            tokens = tokenizer(
                [p or "" for p in prompts],
                padding="max_length",
                max_length=self.max_tokens,
                truncation=True,
                return_tensors="pt",
            )
            out = encoder(tokens.input_ids.to(self.device), output_hidden_states=True)
            states.append(out.hidden_states[-2])
        states, pooled = torch.cat(states, dim=-1).to(self.dtype), out[0].to(self.dtype)
        if self.force_zeros_for_empty_prompt:
            empty = torch.tensor([p is None for p in prompts], device=self.device)
            states, pooled = (
                states.masked_fill(empty[:, None, None], 0),
                pooled.masked_fill(empty[:, None], 0),
            )
        return states, pooled

    def _predict(self, rows: Tensor, t: Tensor, condition) -> Tensor:
        states, pooled = condition.parts
        sizes = torch.tensor([self.sizes], dtype=self.dtype, device=self.device).expand(len(rows), -1)
        added = {"text_embeds": pooled, "time_ids": sizes}
        return self.unet(rows, t, encoder_hidden_states=states, added_cond_kwargs=added, return_dict=False)[0]


class PixArtAdapter(StableDiffusionAdapter):
    """A denoiser over the components of a `PixArtAlphaPipeline` or `PixArtSigmaPipeline` (Chen et al. 2023).

    A T5 encoder whose mask goes along; the text is stripped and in lower case, as diffusers makes it without
    `clean_caption`. The network predicts a variance in further channels, which are dropped.

    Args:
        max_length: tokens of a prompt, 120 for alpha and 300 for Sigma.
        sized: whether the picture's size and aspect ratio are a condition (alpha at 1024 pixels).
    """

    marks = 1  # T5 ends a text and does not start it

    def __init__(
        self,
        transformer,
        vae,
        text_encoder,
        tokenizer,
        max_length: int = 300,
        sized: bool = False,
        **options,
    ):
        self.max_length, self.sized = max_length, sized
        super().__init__(transformer, vae, text_encoder, tokenizer, **options)
        self.scale = 2 ** (len(vae.config.block_out_channels) - 1)

    def _check(self) -> None:
        channels = self.unet.config.out_channels
        self._check_channels(channels // 2 if channels == 2 * self.unet.config.in_channels else channels)

    @property
    def max_tokens(self) -> int:
        return self.max_length

    def _encode_text(self, prompts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer(
            [(p or "").lower().strip() for p in prompts],
            padding="max_length",
            max_length=self.max_length,
            truncation=True,
            return_tensors="pt",
        )
        mask = tokens.attention_mask.to(self.device)
        return self.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0].to(
            self.dtype
        ), mask

    def _predict(self, rows: Tensor, t: Tensor, condition) -> Tensor:
        states, mask = condition.parts
        added = {"resolution": None, "aspect_ratio": None}
        if self.sized:
            height, width = (self.scale * side for side in self.latent_shape[1:])
            size, ratio = torch.tensor([[height, width]]), torch.tensor([[height / width]])
            added = {"resolution": size.to(rows), "aspect_ratio": ratio.to(rows)}
            added = {name: value.expand(len(rows), -1) for name, value in added.items()}
        out = self.unet(
            rows,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            timestep=t.expand(len(rows)),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return out[:, : rows.shape[1]]


def cuts(encoders: Sequence[tuple], text: str) -> list[tuple[str, int, str]]:
    """(class of the encoder, its limit, what it does not see of the text) of those of (encoder, tokenizer, limit)
    that cut it, each class once."""
    found: dict[str, tuple[str, int, str]] = {}
    for encoder, tokenizer, limit in encoders:
        whole = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(whole) <= limit:
            continue
        kept = tokenizer(text, truncation=True, max_length=limit).input_ids
        same = next((i for i, (a, b) in enumerate(zip(whole, kept, strict=False)) if a != b), len(kept))
        removed = tokenizer.decode(whole[same:], skip_special_tokens=True)
        found.setdefault(type(encoder).__name__, (type(encoder).__name__, limit, removed))
    return list(found.values())


def decode_latents(vae, latents: Tensor, rows: int = 8, upcasts: bool = False) -> Tensor:
    """An autoencoder's pictures (B, 3, H, W), float32 in [0, 1] on the CPU, of latents (B, C, h, w).

    rows: at most so many at a time. upcasts: whether to decode in float32 where the autoencoder is in float16 and its
    config says `force_upcast`, as diffusers does for SDXL: there float16 overflows. The latents' scale, shift, mean
    and deviation are in the autoencoder's config.

    Raises NotFiniteError for latents or pictures with NaN or infinite numbers.
    """
    if not bool(latents.isfinite().all()):
        raise NotFiniteError("latents has NaN or infinite numbers; allowed: finite latents to decode")
    if upcasts and vae.dtype == torch.float16 and vae.config.get("force_upcast"):
        with _UPCASTING:  # the weights are shared: another thread must not see them half-way
            vae.to(torch.float32)
            try:
                return _decode(vae, latents, rows)
            finally:
                vae.to(torch.float16)  # where they came from: no digit is lost
    return _decode(vae, latents, rows)


_UPCASTING = threading.Lock()


def _decode(vae, latents: Tensor, rows: int) -> Tensor:
    scaled = _scaled(vae, latents.to(vae.dtype))
    parts = [vae.decode(part, return_dict=False)[0] for part in scaled.split(rows)]
    pictures = torch.cat(parts).float()
    if _films(vae):
        pictures = pictures[:, :, 0]
    if not bool(pictures.isfinite().all()):  # clamp would turn an infinite number into white
        name = str(vae.dtype).removeprefix("torch.")
        raise NotFiniteError(
            f"the autoencoder, in {name}, makes NaN or infinite numbers of finite latents; allowed: finite weights, "
            "in a dtype that holds what it computes (dtype='bfloat16' or 'float32' where float16 overflows)"
        )
    return (pictures / 2 + 0.5).clamp(0, 1).cpu()


def _scaled(vae, latents: Tensor) -> Tensor:
    """What the decoder reads, of latents (B, C, h, w) as denoisers know them: about normal, and FLUX.2's 2 x 2 in one."""
    config, found = vae.config, _statistics(vae, latents)
    if found is None:
        return latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    latents = latents * found[1] / config.get("scaling_factor", 1.0) + found[0]
    if hasattr(vae, "bn"):
        latents = torch.nn.functional.pixel_shuffle(latents, 2)
    return latents.unsqueeze(2) if _films(vae) else latents


def _statistics(vae, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation of an autoencoder's latents by channel, (1, C, 1, 1), where it keeps them."""
    config = vae.config
    if hasattr(vae, "bn"):
        pair = vae.bn.running_mean, (vae.bn.running_var + config.batch_norm_eps).sqrt()
    else:
        pair = config.get("latents_mean"), config.get("latents_std")
    if pair[0] is None or pair[1] is None:
        return None
    mean, deviation = (torch.as_tensor(v).reshape(1, -1, 1, 1).to(like) for v in pair)
    return mean, deviation


def _films(vae) -> bool:
    """Whether an autoencoder is made for films, (B, C, time, h, w): Qwen-Image's. A picture is a film of one moment."""
    return "temperal_downsample" in vae.config


def encode_pictures(vae, pictures: Tensor, rows: int = 100) -> Tensor:
    """An autoencoder's latents (B, C, h, w), float32, of pictures (B, 3, H, W) in [0, 1]: their mean where it gives a law.

    rows: at most so many at a time. The inverse of `decode_latents`, up to what the autoencoder loses.
    """
    config, parts = vae.config, []
    for part in pictures.split(rows):
        part = (2 * part - 1).to(vae.dtype)
        out = vae.encode(part.unsqueeze(2) if _films(vae) else part)
        parts.append(out.latent_dist.mode() if hasattr(out, "latent_dist") else out[0])
    latents = torch.cat(parts).float()
    latents = latents[:, :, 0] if _films(vae) else latents
    if hasattr(vae, "bn"):
        latents = torch.nn.functional.pixel_unshuffle(latents, 2)
    found = _statistics(vae, latents)
    if found is None:
        return (latents - (config.get("shift_factor") or 0.0)) * config.scaling_factor
    return (latents - found[0]) * config.get("scaling_factor", 1.0) / found[1]
