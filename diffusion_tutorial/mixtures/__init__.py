"""The exact world: Gaussian mixtures, whose noised densities, scores and classifiers are formulas.

gaussian      the mixture itself, and distances between its law and points
convergence   how far a sampler with few steps is from where it should be
contraction   what a flow and what noise make of a wrong start
tilted        the density that classifier-free guidance seems to sample, and the one that it does
board         eight blobs on which "not red" has an exact answer
tiny          denoisers small enough to train in a chapter
underfit      what guidance does to networks that were fitted too little
"""

from .._faces import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "gaussian": ["GaussianMixture", "moment_distances", "ring", "sliced_wasserstein", "wasserstein_1d"],
        "convergence": [
            "VARIANCES",
            "even_log_snr",
            "exact_flow",
            "karras",
            "karras_timesteps",
            "law",
            "law_distance",
            "order",
            "posterior_variance",
            "reverse_density",
            "reverse_gaussian",
            "reverse_kl",
            "solve",
        ],
        "contraction": ["Moved", "by_exact_steps", "by_flow", "forgotten", "share_above", "start"],
        "tilted": ["GuidedMixture", "TiltedMixture", "law_density", "noise_to_data", "predictor_corrector"],
        "board": ["COLOURS", "NAMES", "OUTSIDE", "SHAPES", "Board", "levels", "of_colour"],
        "tiny": ["TinyDenoisers", "compare_levels"],
    },
)
