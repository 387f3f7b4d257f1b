"""The landscape's data: complete, sourced, and counted as its recipes say."""

import pytest

from diffusion_tutorial import landscape

ASKED = {  # the systems that the first question names
    *("midjourney-5", "midjourney-5-x", "midjourney-6", "sd-1", "sd-2", "sdxl", "sd-3", "dalle-2", "dalle-3"),
    *("pixart-alpha", "pixart-sigma", "ideogram-1", "playground-2-5", "imagen-1", "imagen-2"),
}
PUBLISHED = {
    "unet-if-i-xl": 4.3e9,  # deep-floyd/IF, README
    "unet-sd1": 859.5e6,
    "unet-sd2": 865.9e6,
    "unet-sdxl": 2567.5e6,
    "mmdit-sd3-medium": 2028e6,
    "dit-pixart-alpha": 611e6,
}


def test_the_data_is_sound_and_fits_the_installed_diffusers():
    assert landscape.check() == []


def test_every_system_of_the_question_has_a_row():
    assert set(landscape.load()) >= ASKED


def test_every_system_has_every_field():
    for system in landscape.load().values():
        for field in landscape.FIELDS:
            assert isinstance(system[field], landscape.Fact), (system.id, field)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_agree_with_published_ones(name):
    assert abs(landscape.count.parameters_of(name) / PUBLISHED[name] - 1) < 0.01
