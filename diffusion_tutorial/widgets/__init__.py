"""Widgets: controls and the picture that they make, live beside a kernel and a still picture without one.

sampler_widget    a text-to-image model: prompt, sampler, steps, guidance ... and the way from noise to picture
mixture_widget    the same samplers on points in the plane, where the perfect denoiser is a formula
guidance_widget   one start over several scales, by each kind of guidance
guided_plane_widget  points in the plane under guidance, over the density that the scale names
negative_widget   a text-to-image model with and without a negative prompt, the formulas side by side
attention_widget  which word each place of a picture looks up, at any step of its run
LiveWidget        what both are made of, for widgets of one's own
"""

from .attention import AttentionWidget, attention_widget
from .base import STATIC, LiveWidget, Shown, picture_page
from .guidance import GuidanceWidget, GuidedPlaneWidget, guidance_widget, guided_plane_widget
from .mixture import MixtureWidget, mixture_widget
from .negative import NegativeWidget, negative_widget
from .sampler import SamplerWidget, sampler_widget

__all__ = [
    "STATIC",
    "AttentionWidget",
    "GuidanceWidget",
    "GuidedPlaneWidget",
    "LiveWidget",
    "MixtureWidget",
    "NegativeWidget",
    "SamplerWidget",
    "Shown",
    "attention_widget",
    "guidance_widget",
    "guided_plane_widget",
    "mixture_widget",
    "negative_widget",
    "picture_page",
    "sampler_widget",
]
