"""Diffusion, answered: the helper package of the book.

The names below are imported when first used, so `import diffusion_tutorial` costs nothing and the samplers
can be read and run without diffusers or matplotlib.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULES = {
    "noise": ["gaussian", "step_noise"],
    "schedules": ["NoiseSchedule", "Transition", "ZeroTerminalSNRError", "path"],
    "samplers": [
        "SAMPLERS",
        "Step",
        "ddim_inversion",
        "ddim_inversion_step",
        "ddim_step",
        "ddim_step_v",
        "ddpm_step",
        "dpm_solver_pp_2m_step",
        "dpm_solver_pp_3m_step",
        "euler_step",
        "heun_step",
        "trajectory",
        "walk",
    ],
    "guidance": [
        "ClassifierFree",
        "ClassifierGuidance",
        "Conditional",
        "Interval",
        "NegativePrompt",
        "PerpNeg",
        "Projected",
        "Ramp",
        "Rescaled",
        "Rule",
        "ScheduledScale",
        "SeveralNegatives",
        "ThreeBranch",
        "Unconditional",
        "WeightedNegative",
        "classifier",
        "classifier_free",
        "negative_prompt",
        "perpendicular_negative",
        "projected",
        "rescaled",
        "several_negatives",
        "three_branch",
        "weighted_negative",
    ],
    "mixtures": ["GaussianMixture"],
    "denoisers": ["Samples", "TextToImage"],
    "checkpoints": ["load"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
