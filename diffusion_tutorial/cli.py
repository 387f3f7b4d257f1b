"""The command line: `python -m diffusion_tutorial sample "a red sphere" -o out.png`, `bench` and `landscape`.

A bad argument ends with exit status 2, one line on stderr and no file. Files are written whole or not at all.
A further command is one more function in COMMANDS that adds its parser and sets `run`.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from .errors import allowed

# What `sample` calls its arguments, and what the command line calls them.
_FLAGS = {
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance-scale",
    "negative_prompt": "--negative-prompt",
    "num_images": "--num-images",
    "sampler": "--sampler",
    "eta": "--eta",
    "seed": "--seed",
    "name_or_path": "--model",
    "device": "--device",
    "dtype": "--dtype",
}
_PICTURES = (".png", ".webp", ".jpg", ".jpeg")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str):
        raise ValueError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, or 2 after an error, 130 after an interrupt."""
    parser = _Parser(
        prog="python -m diffusion_tutorial", description="Diffusion, answered: sample from the command line."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for add in COMMANDS:
        add(commands)
    try:
        args = parser.parse_args(argv)
        if args.command is None:
            parser.error(f"a command is missing; allowed: {', '.join(commands.choices)}")
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            return args.run(args) or 0
    except (ValueError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    for name, flag in _FLAGS.items():
        if text.startswith(f"{name} "):
            return f"{flag}: {text}"
    return text


# --- sample -------------------------------------------------------------------------------------------------


def _add_sample(commands) -> None:
    p = commands.add_parser(
        "sample", help="make pictures for a prompt", description="Make pictures for a prompt."
    )
    p.add_argument("prompt", help="what to draw")
    p.add_argument("--negative-prompt", help="what to steer away from")
    own = "the pipeline's own where a model runs its own loop"
    p.add_argument("--steps", type=int, help=f"denoising steps (default 20; {own})")
    p.add_argument("--guidance-scale", type=float, help=f"1 is the conditional model (default 4; {own})")
    p.add_argument("--sampler", help=f"ddim, ddpm and others (default ddim; {own}, and no other)")
    p.add_argument("--eta", type=float, default=0.0, help="noise of ddim, 0 to 1 (default %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="default %(default)s")
    p.add_argument(
        "--num-images", type=int, default=1, help="pictures, laid out as a grid (default %(default)s)"
    )
    p.add_argument(
        "--scale", type=int, default=None, help="enlarge pictures so many times (default: 1, in grids 2)"
    )
    p.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the pipeline's own, such as height=512 or true_cfg_scale=4 (its own loop only)",
    )
    _add_model(p)
    p.add_argument("-o", "--output", required=True, help=f"the file to write: {', '.join(_PICTURES)}")
    kind = p.add_mutually_exclusive_group()
    kind.add_argument(
        "--grid",
        nargs=2,
        metavar="NAME=V1,V2,...",
        help="one picture for each pair of values, rows and columns: " + ", ".join(_GRID),
    )
    kind.add_argument(
        "--trajectory",
        action="store_true",
        help="an animated .webp of the run: the sample, and the picture it predicts",
    )
    p.set_defaults(run=_sample)


def _add_model(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--model",
        default=None,
        help="still-life, a folder or a Hub id (default: DIFFUSION_TUTORIAL_MODEL, or still-life)",
    )
    p.add_argument("--device", default=None, help="cpu, cuda, ... (default: what is there)")
    p.add_argument("--dtype", default=None, help="float32, bfloat16, float16")
    p.add_argument(
        "--offload",
        action="store_true",
        default=None,
        help="components go to the CUDA card one at a time (default: if they do not fit together)",
    )


# Parameters of --grid: the argument of `sample` and how a value is read.
_GRID = {
    "steps": ("num_inference_steps", int),
    "guidance-scale": ("guidance_scale", float),
    "eta": ("eta", float),
    "seed": ("seed", int),
    "sampler": ("sampler", str),
    "negative-prompt": ("negative_prompt", str),
}


def _sample(args) -> int:
    output = _check_output(
        args.output,
        (".webp",) if args.trajectory else _PICTURES,
        " with --trajectory" if args.trajectory else "",
    )
    if args.scale is not None and not 1 <= args.scale <= 32:
        raise ValueError(allowed("--scale", args.scale, "1 to 32"))
    if args.num_images != 1 and (args.grid or args.trajectory):
        raise ValueError(allowed("--num-images", args.num_images, "1 with --grid or --trajectory"))
    axes = [_axis(text) for text in args.grid] if args.grid else []
    if axes and axes[0][0] == axes[1][0]:
        raise ValueError(allowed("--grid", " ".join(args.grid), "two different parameters"))

    from .checkpoints import load
    from .plots import labelled_grid, to_pil

    settings = {
        "prompt": args.prompt,
        "negative_prompt": args.negative_prompt,
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance_scale,
        "sampler": args.sampler,
        "eta": args.eta,
        "seed": args.seed,
        "num_images": args.num_images,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    options = dict(map(_option, args.option))
    model = load(args.model, device=args.device, dtype=args.dtype, offload=args.offload)
    if options and "sampler" in model.options:
        raise ValueError(
            allowed("--option", args.option[0], f"none with {model.name!r}, which our samplers drive")
        )
    settings |= options
    if axes:
        (row, rows), (column, columns) = axes
        pictures = []
        for r in rows:
            for c in columns:
                one = {**settings, _GRID[row][0]: r, _GRID[column][0]: c}
                pictures.append(model.sample(**one, keep_trajectory=False).images[0])
        sheet = labelled_grid(
            _enlarged(pictures, args.scale, 2),
            [f"{row} {_say(r)}" for r in rows],
            [f"{column} {_say(c)}" for c in columns],
        )
        _save(sheet, output, args.prompt)
    elif args.trajectory:
        samples = model.sample(**settings)
        _save_animation(samples, output, 4 if args.scale is None else args.scale)
    else:
        samples = model.sample(**settings, keep_trajectory=False)
        pictures = to_pil(samples, args.scale or (1 if len(samples) == 1 else 2))
        _save(pictures[0] if len(pictures) == 1 else _sheet(pictures), output, args.prompt)
    print(output)
    return 0


def _option(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value a Python number, list or word."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise ValueError(allowed("--option", text, "NAME=VALUE"))
    try:
        return name.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name.strip(), value


def _axis(text: str) -> tuple[str, list]:
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("--").replace("_", "-")
    if not equals or name not in _GRID:
        raise ValueError(allowed("--grid", text, f"NAME=V1,V2,... with NAME one of {', '.join(_GRID)}"))
    kind = _GRID[name][1]
    try:
        found = [kind(v.strip()) for v in values.split(",")]
    except ValueError:
        raise ValueError(
            allowed("--grid", text, f"{name}= and values of type {kind.__name__}, with commas between")
        ) from None
    if not values.strip() or len(found) > 32:
        raise ValueError(allowed("--grid", text, f"{name}= and 1 to 32 values, with commas between"))
    return name, found


def _say(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _enlarged(pictures, scale: int | None, default: int) -> list:
    from .plots import to_pil

    return to_pil(pictures, default if scale is None else scale)


def _sheet(pictures):
    """Pictures of one size side by side, as near to a square as it goes."""
    import math

    from PIL import Image

    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * (width + 4) - 4, rows * (height + 4) - 4), "white")
    for k, picture in enumerate(pictures):
        sheet.paste(picture, (k % columns * (width + 4), k // columns * (height + 4)))
    return sheet


# --- files --------------------------------------------------------------------------------------------------


def _check_output(name: str, suffixes: tuple[str, ...], when: str = "") -> Path:
    """The file to write, found fit before any work is done."""
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        raise ValueError(allowed("--output", name, f"a file name that ends in {', '.join(suffixes)}{when}"))
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(allowed("--output", name, "a file in a folder that exists"))
    if not os.access(path.parent, os.W_OK):
        raise ValueError(allowed("--output", name, "a file in a folder that may be written to"))
    return path


def _save(picture, path: Path, prompt: str, **options) -> None:
    """Write a picture beside its place and move it there: an error or a full disk leaves no half file."""
    suffix = path.suffix.lower()
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".png": "PNG"}[suffix]
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("Description", prompt)
    elif not options:
        options["quality"] = 92
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=suffix, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            picture.save(file, format=kind, **options)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _save_animation(samples, path: Path, scale: int) -> None:
    """x_t at the left, the predicted x0 at the right, a frame a step; the last one stays for two seconds."""
    import torch

    from .plots import labelled_grid, to_pil

    end = samples.trajectory[-1].x_s[:1]
    left = samples.decode(torch.cat([step.x_t[:1] for step in samples.trajectory] + [end]))
    right = samples.decode(torch.cat([step.x0[:1] for step in samples.trajectory] + [end]))
    names = [f"x_t, t = {int(t):>3}" for t in samples.timesteps] + ["x_0"]
    room = 8 * max(
        len(name) for name in names
    )  # the same for every frame: a label must not move the pictures
    frames = [
        labelled_grid(pair, [""], [name, "x0 predicted"], least=room)
        for pair, name in zip(zip(to_pil(left, scale), to_pil(right, scale), strict=True), names, strict=True)
    ]
    _save(
        frames[0],
        path,
        "",
        save_all=True,
        append_images=frames[1:],
        loop=0,
        quality=88,
        method=4,
        duration=[120] * (len(frames) - 1) + [2000],
    )


# --- bench --------------------------------------------------------------------------------------------------


def _add_bench(commands) -> None:
    p = commands.add_parser(
        "bench", help="measure speed beside diffusers", description="Measure speed beside diffusers."
    )
    p.add_argument("--steps", type=int, default=25, help="default %(default)s")
    p.add_argument(
        "--repeats",
        type=int,
        default=5,
        help="runs of each, in turn; the median counts (default %(default)s)",
    )
    p.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="pictures a run (default 1 16)")
    p.add_argument("--json", action="store_true", help="print JSON instead of the table")
    _add_model(p)
    p.set_defaults(run=_bench)


def _bench(args) -> int:
    from . import bench

    return bench.main(args)


# --- landscape ----------------------------------------------------------------------------------------------


def _add_landscape(commands) -> None:
    p = commands.add_parser(
        "landscape",
        help="text-to-image systems: facts with sources, and computed costs",
        description="Text-to-image systems: facts with sources, and computed costs.",
    )
    p.add_argument("system", nargs="?", help="the id of one system: all its facts, with where each was read")
    p.add_argument("--json", action="store_true", help="print JSON instead of the table")
    p.add_argument(
        "--check",
        action="store_true",
        help="check the data, and compare it with the installed diffusers; status 1 if they differ",
    )
    p.set_defaults(run=_landscape)


def _landscape(args) -> int:
    from .landscape import command

    return command.main(args)


COMMANDS = [_add_sample, _add_bench, _add_landscape]
