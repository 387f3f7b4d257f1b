"""Diffusion, answered: the helper package of the book.

The names below are imported when first used, so `import diffusion_tutorial` costs nothing and the samplers
can be read and run without diffusers or matplotlib.
"""

from ._faces import face

__version__ = "0.1.0"

_MODULES = {
    "noise": ["gaussian", "step_noise"],
    "schedules": ["NoiseSchedule", "Transition", "ZeroTerminalSNRError", "path"],
    "samplers": [
        "SAMPLERS",
        "Moment",
        "Step",
        "ddim_inversion",
        "ddim_inversion_step",
        "ddim_step",
        "ddim_step_v",
        "ddpm_step",
        "dpm_solver_pp_2m_step",
        "dpm_solver_pp_3m_step",
        "dpm_solver_pp_sde_step",
        "euler_ancestral_step",
        "euler_step",
        "heun_step",
        "trajectory",
        "unipc_step",
        "walk",
    ],
    "guidance": [
        "AutoGuidance",
        "ClassifierFree",
        "ClassifierGuidance",
        "Conditional",
        "Interval",
        "NegativePrompt",
        "PerPicture",
        "PerpNeg",
        "Perturbed",
        "Plus",
        "Projected",
        "Ramp",
        "Rescaled",
        "Rule",
        "ScheduledScale",
        "SeveralNegatives",
        "ThreeBranch",
        "Thresholded",
        "Unconditional",
        "WeightedNegative",
        "ZeroStar",
        "classifier",
        "classifier_free",
        "negative_prompt",
        "perpendicular_negative",
        "perturbed_guidance",
        "plus_scale",
        "projected",
        "rescaled",
        "several_negatives",
        "three_branch",
        "thresholded",
        "weighted_negative",
        "zero_star",
    ],
    "mixtures": ["GaussianMixture"],
    "text_to_image": ["Samples", "TextToImage", "sample_many"],
    "checkpoints": ["load", "wrap"],
}
__getattr__, __dir__, __all__ = face(__name__, _MODULES)
