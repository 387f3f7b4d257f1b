"""The recorder of cross-attention: it changes nothing, and what it keeps are the layers' own weights."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from diffusion_tutorial.checkpoints import load, random_pipeline, wrap
from diffusion_tutorial.checkpoints.attention import Asked, Seen, recording, resized, sides, weights, words
from diffusion_tutorial.errors import PromptError, UnsupportedModelError
from diffusion_tutorial.guidance import COND, NEG, UNCOND, ClassifierFree, Interval
from diffusion_tutorial.noise import gaussian

PROMPT = "a large shiny red sphere on a green floor"
RUN = {"num_inference_steps": 3, "seed": 7}


@pytest.fixture(scope="module")
def model():
    return load("still-life", device="cpu")


@pytest.fixture(
    scope="module", params=["StableDiffusionPipeline", "StableDiffusionXLPipeline", "PixArtSigmaPipeline"]
)
def random_model(request):
    return wrap(random_pipeline(kind=request.param))


def crosses(model):
    return {n: m for n, m in model.adapter.unet.named_modules() if n.endswith("attn2")}


# --- nothing changes


@pytest.mark.parametrize(
    "arguments",
    [
        {"negative_prompt": "blue"},
        {"guidance": Interval(ClassifierFree(4.0), 0.3, 0.9), "sampler": "ddpm"},
        {"num_images": 3, "guidance_scale": 1.0},
    ],
    ids=["negative", "interval", "several"],
)
def test_what_is_sampled_keeps_every_bit(model, arguments):
    before = model.sample(PROMPT, **RUN, **arguments)
    with recording(model) as seen:
        during = model.sample(PROMPT, **RUN, **arguments)
    after = model.sample(PROMPT, **RUN, **arguments)
    assert torch.equal(before.latents, during.latents) and torch.equal(before.images, during.images)
    assert torch.equal(before.latents, after.latents) and len(seen.asked) == 3


def test_random_networks_keep_every_bit_too(random_model):
    text = "two cats, and a hat"
    before = random_model.sample(text, **RUN)
    with recording(random_model) as seen:
        during = random_model.sample(text, **RUN)
    assert torch.equal(before.latents, during.latents)
    assert all(((w.sum(-1) - 1).abs() < 1e-5).all() for one in seen.asked for w in one.weights.values())
    assert len(seen.layers) == len(crosses(random_model)) > 0
    for places in words(random_model, text).values():
        assert seen.map(places).shape[0] == 1


@pytest.mark.parametrize("name", ["still-life-flow", "still-life-fast"])
def test_the_flow_and_the_student_are_heard(name):
    other = load(name, device="cpu")
    run = {"num_inference_steps": 2, "seed": 3}
    before = other.sample(PROMPT, **run)
    with recording(other) as seen:
        during = other.sample(PROMPT, **run)
    assert torch.equal(before.latents, during.latents)
    assert [one.moment.step for one in seen.asked] == [0, 1]


def test_processors_are_put_back_after_an_error(model):
    own = {n: m.processor for n, m in crosses(model).items()}
    with pytest.raises(ZeroDivisionError), recording(model), recording(model):
        assert all(m.processor is not own[n] for n, m in crosses(model).items())
        model.eps(gaussian((1, *model.latent_shape), 1), 500, "a cube")
        raise ZeroDivisionError
    assert all(m.processor is own[n] for n, m in crosses(model).items())
    assert model.asking is None and not model.adapter.unet._forward_pre_hooks


# --- what is kept


def test_rows_sum_to_one_and_steps_and_branches_are_named(model):
    rule = Interval(ClassifierFree(4.0), 0.3, 0.9)
    with recording(model) as seen:
        model.sample([PROMPT, "a cube"], guidance=rule, num_inference_steps=4, seed=1)
    assert [one.moment.step for one in seen.asked] == [0, 1, 2, 3]
    assert [one.branches for one in seen.asked] == [(COND,), (COND,), (UNCOND, COND), (UNCOND, COND)]
    for one in seen.asked:
        assert set(one.weights) == set(crosses(model))
        for name, kept in one.weights.items():
            assert kept.shape == (2 * len(one.branches), *seen.layers[name], model.adapter.max_tokens)
            assert ((kept.sum(-1) - 1).abs() < 1e-5).all() and (kept >= 0).all()
    with pytest.raises(ValueError, match="steps is 0; allowed: questions that asked about 'uncond'"):
        seen.map([1], UNCOND, [0])


def test_the_weights_are_a_plain_softmax_of_the_layers_own_projections(model):
    """softmax(Q K^T / sqrt(d)), written out with the weight matrices alone, of what came to each layer."""
    came, handles = {}, []
    for name, layer in crosses(model).items():
        keep = lambda _m, args, named, name=name: came.update({name: (args, named)})  # noqa: E731
        handles.append(layer.register_forward_pre_hook(keep, with_kwargs=True))
    x = gaussian((2, *model.latent_shape), 4)
    with recording(model) as seen:
        model.eps(x, 400, [PROMPT, "shiny"])
    for handle in handles:
        handle.remove()
    for name, layer in crosses(model).items():
        args, named = came[name]
        query = args[0] @ layer.to_q.weight.T
        key = named["encoder_hidden_states"] @ layer.to_k.weight.T
        heads = []
        width = query.shape[-1] // layer.heads
        for h in range(layer.heads):
            part = slice(h * width, (h + 1) * width)
            scores = torch.einsum("bpd,btd->bpt", query[..., part], key[..., part]) / width**0.5
            heads.append(scores.exp() / scores.exp().sum(-1, keepdim=True))
        wanted = torch.stack(heads).mean(0)
        torch.testing.assert_close(seen.asked[0].weights[name].flatten(1, 2), wanted, atol=2e-6, rtol=0)


def test_the_weights_are_those_that_diffusers_uses(random_model):
    """diffusers' processor without fused kernels, its scores kept: same weights, same answer of the network."""
    kept = {}

    class Plain(AttnProcessor):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def __call__(self, attn, hidden_states, *args, **named):
            scores = type(attn).get_attention_scores

            def listen(query, key, mask=None):
                kept[self.name] = scores(attn, query, key, mask)
                return kept[self.name]

            attn.get_attention_scores = listen
            try:
                return super().__call__(attn, hidden_states, *args, **named)
            finally:
                del attn.get_attention_scores

    x, text = gaussian((1, *random_model.latent_shape), 5), ["some words"]
    with recording(random_model) as seen:
        fused = random_model.eps(x, 300, text)
    own = {n: m.processor for n, m in crosses(random_model).items()}
    try:
        for name, layer in crosses(random_model).items():
            layer.processor = Plain(name)
        plain = random_model.eps(x, 300, text)
    finally:
        for name, layer in crosses(random_model).items():
            layer.processor = own[name]
    assert (plain - fused).abs().max() < 1e-4  # not bit-equal: fused kernels add in another order
    for name, ours in seen.asked[0].weights.items():
        torch.testing.assert_close(ours.flatten(1, 2)[0], kept[name].mean(0), atol=2e-6, rtol=0)


def test_a_branch_is_its_own_text(model):
    """The rows of the negative are what the network sees when it is asked about the negative alone."""
    x = gaussian((1, *model.latent_shape), 7)
    with recording(model) as seen:
        model.sample(PROMPT, "blue floor", num_inference_steps=2, latents=x)
    with recording(model) as alone:
        model.eps(x, seen.asked[0].moment.t, "blue floor")
    place = words(model, "blue floor")["floor"]
    torch.testing.assert_close(seen.map(place, NEG, [0]), alone.map(place), atol=1e-5, rtol=0)
    assert (seen.map(place, COND, [0]) - alone.map(place)).abs().max() > 0.01


def test_a_batch_that_is_cut_is_one_question(model):
    def run(rows):
        before, model.adapter.max_rows = model.adapter.max_rows, rows
        try:
            with recording(model) as seen:
                model.sample(PROMPT, num_images=3, num_inference_steps=1)
            return seen
        finally:
            model.adapter.max_rows = before

    whole, cut = run(64), run(2)
    assert len(cut.asked) == 1
    torch.testing.assert_close(cut.map([4], UNCOND), whole.map([4], UNCOND), atol=1e-5, rtol=0)


# --- reading it


def made():
    """Two questions, two layers, weights by hand: three tokens, one picture, branches uncond and cond."""
    seen = Seen(["fine", "coarse"])
    seen.layers = {"fine": (2, 2), "coarse": (1, 1)}
    for k in (1, 2):
        fine = torch.zeros(2, 2, 2, 3)
        fine[1, 0, 0] = torch.tensor([0.1 * k, 0.2, 0.3])
        coarse = torch.full((2, 1, 1, 3), 0.5)
        seen.asked.append(Asked(None, (UNCOND, COND), {"fine": fine, "coarse": coarse}))
    return seen


def test_maps_add_tokens_and_average_layers_and_steps():
    seen = made()
    one = seen.map([0, 1], layers=["fine"], steps=[1])
    torch.testing.assert_close(one, torch.tensor([[[0.4, 0.0], [0.0, 0.0]]]))
    both = seen.map([0, 1])
    torch.testing.assert_close(both[0, 0, 0], torch.tensor((0.3 + 1.0 + 0.4 + 1.0) / 4))
    assert seen.map([0], UNCOND, layers=["fine"]).abs().max() == 0
    assert seen.map([0], layers=["coarse"]).shape == (1, 1, 1)
    assert seen.map([0], size=(8, 8)).shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"places": [3]}, "places is .*allowed: numbers of tokens, from 0 to 2"),
        ({"places": []}, "places is"),
        ({"places": [0], "branch": NEG}, "branch is 'neg'; allowed: cond, uncond"),
        ({"places": [0], "layers": ["x"]}, "layers is 'x'; allowed: names of fine, coarse"),
        ({"places": [0], "layers": []}, "layers is"),
        ({"places": [0], "steps": [2]}, "steps is 2; allowed"),
    ],
)
def test_bad_reading_names_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        made().map(**arguments)


def test_nothing_recorded_says_so(model):
    with recording(model) as seen:
        pass
    with pytest.raises(ValueError, match="nothing was recorded"):
        seen.map([1])


def test_sides_are_halvings():
    assert sides(64, (16, 16)) == (8, 8)
    assert sides(35, (5, 7)) == (5, 7) and sides(12, (5, 7)) == (3, 4) and sides(4, (5, 7)) == (2, 2)
    with pytest.raises(UnsupportedModelError, match="positions is 5"):
        sides(5, (16, 16))


def test_resized_keeps_what_has_the_size():
    maps = gaussian((1, 4, 4), 1)
    assert resized(maps, (4, 4)) is maps and resized(torch.ones(1, 2, 2), (8, 8)).eq(1).all()


def test_words_know_their_tokens(model):
    found = words(model, "A red cube on a RED floor.")
    ids = model.adapter.tokenizer("a red cube on a red floor").input_ids
    pieces = model.adapter.tokenizer.convert_ids_to_tokens(ids)
    assert list(found) == ["a", "red", "cube", "on", "a#2", "red#2", "floor"]
    for name, (place,) in found.items():
        assert pieces[place] == name.split("#")[0] + "</w>"
    with pytest.raises(PromptError, match="unknown word 'reed'"):
        words(model, "a reed")
    with pytest.raises(PromptError, match="a text with words"):
        words(model, " ")


def test_words_of_several_tokens_and_words_that_are_cut_off(random_model):
    found = words(random_model, "two cats")
    places = [p for one in found.values() for p in one]
    start = random_model.adapter.marks - 1
    assert places == list(range(start, start + len(places))) and len(found["cats"]) > 1
    long = words(random_model, " ".join(["abcdefghij"] * 40))
    assert 0 < len(long) < 40 and max(max(p) for p in long.values()) < random_model.adapter.max_tokens - 1


# --- who is refused


@pytest.mark.parametrize("kind", ["FluxPipeline", "StableDiffusion3Pipeline"])
def test_models_with_loops_of_their_own_are_refused(kind):
    other = wrap(random_pipeline(kind=kind))
    with pytest.raises(UnsupportedModelError, match="model is .*allowed: one that our samplers drive"):
        with recording(other):
            pass
    with pytest.raises(UnsupportedModelError):
        words(other, "a cat")


def test_a_network_without_such_layers_is_refused(model, monkeypatch):
    monkeypatch.setattr(model.adapter, "unet", torch.nn.Linear(1, 1))
    with pytest.raises(UnsupportedModelError, match="allowed: a network with cross-attention layers"):
        with recording(model):
            pass


def test_a_mask_shuts_tokens_out():
    wrapped = wrap(random_pipeline(kind="PixArtSigmaPipeline"))
    layer = next(iter(crosses(wrapped).values()))
    hidden, text = gaussian((1, 6, layer.query_dim), 1), gaussian((1, 5, layer.cross_attention_dim), 2)
    mask = torch.tensor([[[0.0, 0.0, -1e4, 0.0, -1e4]]])
    with torch.no_grad():
        found = weights(layer, hidden, text, mask)
    assert found[..., [2, 4]].max() < 1e-6 and (found.sum(-1) - 1).abs().max() < 1e-5
