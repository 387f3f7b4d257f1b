import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion_tutorial import NegativePrompt, load
from diffusion_tutorial.errors import PromptError
from diffusion_tutorial.still_life import tokenizer
from diffusion_tutorial.still_life.captions import (
    WORDS,
    UnknownWordError,
    caption,
    check_words,
    parse,
    random_said,
)
from diffusion_tutorial.still_life.scenes import ATTRIBUTES

SAID = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in ATTRIBUTES.items()}
)


@given(SAID, st.one_of(st.none(), st.integers(0, 10_000)))
def test_parse_is_the_inverse_of_caption(said, seed):
    text = caption(said, None if seed is None else random.Random(seed))
    assert parse(text) == {name: said[name] for name in ATTRIBUTES if name in said}
    check_words(text)


def test_the_standard_wording():
    said = {
        "shape": "sphere",
        "colour": "red",
        "size": "large",
        "material": "shiny",
        "floor": "green",
        "wall": "white",
    }
    assert caption(said) == "a large shiny red sphere on a green floor in front of a white wall"
    assert caption({"shape": "cube", "colour": "orange"}) == "an orange cube"
    assert caption({}) == "an object"
    assert parse("a red sphere on a red floor") == {"shape": "sphere", "colour": "red", "floor": "red"}


def test_training_captions_name_some_attributes_and_all_of_them_often():
    rng = random.Random(0)
    values = {name: v[0] for name, v in ATTRIBUTES.items()}
    sizes = [len(random_said(values, rng)) for _ in range(4000)]
    assert 0.30 < sum(s == 6 for s in sizes) / 4000 < 0.42 and min(sizes) <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a crimson sphere", ("'crimson'",)),
        ("a red shpere on a grey floor", ("'shpere' (nearest: sphere", "'grey' (nearest: gray")),
        ("a red shpere!", ("'shpere' (nearest: sphere",)),
        ("a red-sphere, a blue wall", ("'red-sphere' (nearest: sphere",)),
    ],
)
def test_unknown_words_are_named_with_their_nearest(text, words):
    with pytest.raises(UnknownWordError) as error:
        check_words(text, "negative_prompt")
    assert "negative_prompt" in str(error.value) and "allowed" in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_punctuation_is_no_part_of_a_word():
    """The tokenizer has no marks: the text is given to it without them."""
    assert check_words("A red sphere, on a green floor.") == "a red sphere on a green floor"
    assert check_words("“a cube”（in front of a white wall）") == "a cube in front of a white wall"
    assert parse("Red sphere; white floor!") == {"shape": "sphere", "colour": "red", "floor": "white"}
    assert check_words("") == "" and parse("") == {}
    with pytest.raises(PromptError, match="negative_prompt is '…!'; allowed: a text with words"):
        check_words("…!", "negative_prompt")


def test_a_sentence_with_punctuation_gives_the_picture_of_its_words():
    model = load()
    settings = dict(num_inference_steps=1, seed=3, keep_trajectory=False)
    plain = model.sample("a red sphere", "blue", guidance=NegativePrompt(2), **settings)
    marked = model.sample("A red sphere.", "blue!", guidance=NegativePrompt(2), **settings)
    assert torch.equal(plain.latents, marked.latents)
    with pytest.raises(UnknownWordError, match="negative_prompt"):
        model.sample("a red sphere.", "bleu.", **settings)


def test_captions_of_unknown_attributes_are_refused():
    with pytest.raises(ValueError, match="'beige'; allowed: red"):
        caption({"colour": "beige"})
    with pytest.raises(ValueError, match="allowed: shape"):
        caption({"hue": "red"})


def test_every_word_is_one_token(tmp_path):
    from transformers import CLIPTokenizer

    tokenizer.build(tmp_path)
    clip = CLIPTokenizer.from_pretrained(tmp_path)
    assert clip.model_max_length == tokenizer.MAX_LENGTH
    ids = {word: clip(word).input_ids for word in WORDS}
    assert all(len(codes) == 3 for codes in ids.values())
    assert len({codes[1] for codes in ids.values()}) == len(WORDS)
    longest = clip("a large shiny orange cylinder on a yellow floor in front of a yellow wall").input_ids
    assert len(longest) == 17 and longest[0] == clip.bos_token_id and longest[-1] == clip.eos_token_id


def test_training_codes_equal_the_tokenizer(tmp_path):
    from diffusion_tutorial.training.denoiser import load_tokenizer, token_ids

    clip = load_tokenizer(tmp_path)
    words = {word: clip(word).input_ids[1] for word in WORDS}
    texts = [
        "",
        "an object",
        "a large shiny red sphere on a green floor in front of a white wall",
        "red and blue wall",
    ]
    expected = clip(texts, padding="max_length", return_tensors="pt").input_ids
    assert (token_ids(texts, words, clip.bos_token_id, clip.eos_token_id) == expected).all()
