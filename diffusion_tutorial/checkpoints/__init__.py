"""The real world: any diffusers text-to-image pipeline, from a folder or the Hub, behind the same `sample`.

families      one row a pipeline class: what it is made of, and how it is sampled
sources       where the files are, and what is wrong with them
checks        what their small files may say
build         from files to a model; `wrap` for a pipeline that is loaded already
adapters      denoisers for our samplers
pipelines     models whose pipeline runs its own loop
guided        guidance rules in such a loop
attention     which word each place of the latents looks up
broken        copies of a U-Net with broken self-attention, to push away from
"""

from .._faces import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "loading": ["ENVIRONMENT", "STILL_LIFE", "estimate", "load", "still_life_folder"],
        "sources": ["WITHDRAWN", "verify"],
        "build": ["wrap"],
        "families": [
            "FAMILIES",
            "LOOP",
            "OURS",
            "Family",
            "schedule_of",
            "signature",
            "starts",
            "table",
            "way",
        ],
        "adapters": ["Condition", "PixArtAdapter", "StableDiffusionAdapter", "StableDiffusionXLAdapter"],
        "pipelines": ["PipelineModel", "generators"],
        "random_pipelines": ["RANDOM_PIPELINES", "random_pipeline"],
        "attention": ["recording", "words"],
        "broken": ["perturbed", "self_attention"],
        "nag": ["Nag", "normalized"],
        "silence": ["quiet"],
    },
)
