"""MemGPT from scratch: causality, memory as the only source of an answer, saving, and the loop of a tutorial."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_decoder
from torch import nn

from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemGPT, MemoryDecoder
from memgpt_rag.model.tokenizer import bpe_tokenizer, byte_tokenizer, character_tokenizer

SIZES = {"vocab_size": 256, "d_model": 32, "nhead": 4, "num_layers": 2, "dim_feedforward": 64, "chunk_tokens": 8}


def make_model(**settings) -> MemGPT:
    """With gates open, so that memory counts without training."""
    torch.manual_seed(0)
    model = MemGPT(**{**SIZES, "memory_heads": 4, **settings}).eval()
    for layer in model.memory.values():
        nn.init.normal_(layer.gate, mean=1.0)
    return model


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed))


def found(text: str, score: float = 1.0) -> SimpleNamespace:
    return SimpleNamespace(score=score, passage=SimpleNamespace(text=text))


@torch.no_grad()
def test_one_position_is_the_last_of_all():
    model, inputs = make_model(), ids(3, 20)
    logits = model(inputs, all_positions=True)
    assert logits.shape == (3, 20, 256)
    torch.testing.assert_close(model(inputs), logits[:, -1])


@torch.no_grad()
@pytest.mark.parametrize("memory_layers", [(1,), (0, 1)])
def test_no_logit_depends_on_a_later_token_or_on_neighbors_of_a_later_chunk(memory_layers):
    model, inputs, neighbors = make_model(memory_layers=memory_layers), ids(2, 24), ids(2, 3, 2, 6, seed=1)
    before = model(inputs, neighbors, all_positions=True)
    for token in (5, 8, 19):
        changed = inputs.clone()
        changed[:, token] = (changed[:, token] + 1) % 256
        after = model(changed, neighbors, all_positions=True)
        torch.testing.assert_close(after[:, :token], before[:, :token], rtol=0, atol=1e-5)
        assert not torch.allclose(after[:, token], before[:, token], atol=1e-3)
    for chunk in (1, 2):
        changed = neighbors.clone()
        changed[:, chunk] = ids(2, 2, 6, seed=2)
        after, first = model(inputs, changed, all_positions=True), chunk * 8
        assert torch.equal(after[:, :first], before[:, :first])
        assert not torch.allclose(after[:, first], before[:, first], atol=1e-3)


@torch.no_grad()
def test_looking_up_a_memory_sees_no_later_chunk():
    """The neighbors of a chunk are looked up by the chunk before it; here by a finder that returns what it was asked."""

    class Echo:
        def retrieve(self, questions, k):
            return [[found(question)] for question in questions]

    model = make_model()
    model.attach(Echo(), k=1)
    inputs = torch.randint(97, 123, (1, 24), generator=torch.Generator().manual_seed(3))
    inputs = torch.tensor([model.tokenizer("".join(map(chr, row)))["input_ids"] for row in inputs.tolist()])
    before = model(inputs, all_positions=True)
    own = torch.full((1, 3, 1, 8), -1)
    own[0, 1, 0], own[0, 2, 0] = inputs[0, :8], inputs[0, 8:16]
    torch.testing.assert_close(before, model(inputs, own, all_positions=True))
    changed = inputs.clone()
    changed[:, 12] = model.tokenizer("?")["input_ids"][0]
    torch.testing.assert_close(model(changed, all_positions=True)[:, :12], before[:, :12], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_order_of_neighbors_and_their_padding_mean_nothing():
    model, inputs, neighbors = make_model(), ids(2, 16), ids(2, 2, 3, 6, seed=1)
    logits = model(inputs, neighbors, all_positions=True)
    torch.testing.assert_close(model(inputs, neighbors[:, :, [2, 0, 1]], all_positions=True), logits)
    padded = torch.full((2, 2, 4, 9), -1)
    padded[:, :, :3, :6] = neighbors
    torch.testing.assert_close(model(inputs, padded, all_positions=True), logits)
    nothing = torch.full((2, 2, 1, 4), -1)
    torch.testing.assert_close(model(inputs, nothing, all_positions=True), model(inputs, all_positions=True))


@torch.no_grad()
def test_the_decision_to_query():
    """auto leaves out what scores too low, and with it the memory where nothing is left."""

    class Scored:
        def retrieve(self, questions, k):
            return [[found("lake", 0.8), found("park", 0.4), found("boat", 0.1)][:k] for _ in questions]

    model, inputs = make_model(), ids(1, 8)
    alone = model(inputs)

    def attached(memory, **settings):
        model.attach(memory, k=3, **settings)
        return model(inputs)

    torch.testing.assert_close(attached(Scored()), attached(["lake", "park", "boat"]))
    torch.testing.assert_close(attached(Scored(), use_memory="auto", min_score=0.3), attached(["lake", "park"]))
    torch.testing.assert_close(attached(Scored(), use_memory="auto", min_score=0.9), alone)
    assert torch.equal(attached(Scored(), use_memory="never"), alone)
    assert not torch.allclose(attached(["lake", "park"]), attached(["lake"]), atol=1e-3)
    model.detach()
    assert torch.equal(model(inputs), alone)


@torch.no_grad()
def test_reading_equals_a_slow_reading_of_each_text_for_each_chunk():
    model, inputs, neighbors = make_model(), ids(2, 20), ids(2, 3, 2, 6, seed=1)
    neighbors[0, 1], neighbors[1, 2, 0], neighbors[1, 2, 1, 4:] = neighbors[0, 0], neighbors[0, 0, 1], -1
    scale, norm, reader = 32**0.5, model.memory_norm["0"], model.memory["0"]

    def first_layer(tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(len(tokens))
        x = (model.embedding(tokens) * scale + model.position.weight[: len(tokens)])[None]
        return model.layers[0](x, src_mask=mask, is_causal=True)

    rows = []
    for tokens, per_row in zip(inputs, neighbors, strict=True):
        x = first_layer(tokens)
        chunks = []
        for at, texts in zip((0, 8, 16), per_row, strict=True):
            known = [text[text >= 0] for text in texts]
            vectors = [
                torch.cat([norm(first_layer(text[:-1])), norm(model.embedding(text[1:]))[None]], dim=-1)
                for text in known
            ]
            local = x[:, at : at + 8]
            chunks.append(reader(norm(local), torch.cat(vectors, dim=1), local=local).output)
        x = torch.cat(chunks, dim=1)
        x = model.layers[1](x, src_mask=nn.Transformer.generate_square_subsequent_mask(20), is_causal=True)
        rows.append(model.norm(x) @ model.embedding.weight.T)
    torch.testing.assert_close(model(inputs, neighbors, all_positions=True), torch.cat(rows), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_memory_that_does_not_say_how_a_text_goes_on_is_as_none():
    model = make_model()
    expected = model.generate("the park", max_new_tokens=4)
    for texts in ([], ["t"], ["", "p"]):
        model.attach(texts)
        assert model.generate("the park", max_new_tokens=4) == expected


@torch.no_grad()
def test_a_row_of_a_batch_is_as_alone():
    model, inputs, neighbors = make_model(), ids(3, 16), ids(3, 2, 2, 6, seed=1)
    together = model(inputs, neighbors, all_positions=True)
    for row in range(3):
        alone = model(inputs[row : row + 1], neighbors[row : row + 1], all_positions=True)
        torch.testing.assert_close(alone[0], together[row])


@torch.no_grad()
def test_an_untrained_model_already_reads_what_came_next():
    """As a continuous cache does: after a token that the memory holds once, the one after it there is likelier."""
    torch.manual_seed(0)
    model = MemGPT(**{**SIZES, "d_model": 64}).eval()
    inputs, neighbors = ids(64, 8), torch.stack([torch.randperm(256)[:12] for _ in range(64)]).view(64, 1, 1, 12)
    rows = torch.arange(64)
    inputs[:, -1], following = neighbors[:, 0, 0, 5], neighbors[:, 0, 0, 6]
    gained = (model(inputs, neighbors) - model(inputs)).log_softmax(-1)
    assert (gained.argmax(-1) == following).float().mean() > 0.9
    assert (gained[rows, following] > gained[rows, neighbors[:, 0, 0, 9]]).float().mean() > 0.9


def test_a_model_without_memory_layers_reads_none():
    model = MemGPT(**SIZES, memory_layers=())
    assert not any("memory" in name for name, _ in model.named_parameters())
    assert model(ids(2, 16)).shape == (2, 256)
    with pytest.raises(ValueError, match="This model has no memory layers and cannot read neighbors"):
        model(ids(2, 16), ids(2, 2, 2, 6))


def test_every_weight_learns():
    model = make_model(memory_layers=(0, 1)).train()
    model(ids(2, 16), ids(2, 2, 2, 6), all_positions=True).square().mean().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_gradients_equal_finite_differences():
    torch.manual_seed(0)
    model = MemGPT(vocab_size=256, d_model=4, nhead=2, num_layers=1, dim_feedforward=4, chunk_tokens=2).double().eval()
    nn.init.ones_(model.memory["0"].gate)
    inputs, neighbors = ids(1, 4), ids(1, 2, 1, 3)
    names = [name for name, _ in model.memory.named_parameters()]
    values = [weight.detach().clone().requires_grad_() for weight in model.memory.parameters()]

    def output(*weights):
        replaced = {f"memory.{name}": weight for name, weight in zip(names, weights, strict=True)}
        return torch.func.functional_call(model, replaced, (inputs, neighbors), {"all_positions": True})[..., :7]

    assert torch.autograd.gradcheck(output, values)


def test_the_loops_of_a_tutorial():
    """Training, evaluation and generation as the source document of the project writes them."""
    text = "今天天气很好，我们去公园散步。"
    tokenizer = character_tokenizer([text])
    torch.manual_seed(0)
    model = MemGPT(
        vocab_size=10000, d_model=32, nhead=8, num_layers=2, dim_feedforward=64, dropout=0.0, tokenizer=tokenizer
    )
    token_ids = torch.tensor(tokenizer(text)["input_ids"])
    length = len("今天天气很好")
    inputs = token_ids.unfold(0, length, 1)[:-1]
    targets = token_ids[length:]
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(40):
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        outputs = model(inputs)
        correct = (outputs.argmax(dim=1) == targets).sum().item()
    assert correct / targets.size(0) == 1.0
    assert model.generate("今天天气很好", max_new_tokens=1) == "，"


def test_what_is_generated_by_sampling_repeats_with_a_seed():
    model = make_model()
    first, again, other = (
        model.generate("天", temperature=1.0, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_words_come_back_as_they_were():
    text = "weather 天气 🌤\n"
    for tokenizer in (byte_tokenizer(), bpe_tokenizer([text], 300), character_tokenizer([text])):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert character_tokenizer([text]).decode(character_tokenizer([text])("雨天")["input_ids"]) == "\ufffd天"
    with pytest.raises(ValueError, match="vocab_size is 255; expected at least the 256 bytes"):
        bpe_tokenizer([text], 255)


@torch.no_grad()
def test_a_saved_model_is_the_same(tmp_path):
    model = make_model(memory_layers=(0, 1), tokenizer=bpe_tokenizer(["the weather in the park"], 256))
    model.save_pretrained(tmp_path)
    loaded = MemGPT.from_pretrained(tmp_path)
    assert isinstance(loaded, MemGPT) and loaded.sizes == model.sizes
    inputs, neighbors = ids(2, 16), ids(2, 2, 2, 6)
    assert torch.equal(loaded(inputs, neighbors), model(inputs, neighbors))
    assert loaded.generate("the") == model.generate("the")


def test_from_pretrained_gives_memory_to_any_other_decoder(tmp_path):
    tiny_decoder("llama").save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    assert isinstance(MemGPT.from_pretrained(tmp_path), MemoryDecoder)


@pytest.mark.parametrize(
    "spoil, match",
    [
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json does not describe a model"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "The MemGPT .* cannot be loaded .*No such file.*; copy or download it again",
        ),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "memgpt_rag", "d_modell": 4}'),
            "The MemGPT .* cannot be loaded .*d_modell",
        ),
    ],
    ids=["half a config", "no weights", "unknown size"],
)
def test_a_damaged_model_is_refused(tmp_path, spoil, match):
    make_model().save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ModelError, match=match):
        MemGPT.from_pretrained(tmp_path)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"memory_layers has \[2\]; expected layers from 0 to 1"):
        MemGPT(**SIZES, memory_layers=(1, 2))
    with pytest.raises(ValueError, match="d_model is 32 and nhead 5; expected heads of equal size"):
        MemGPT(**{**SIZES, "nhead": 5})
    with pytest.raises(ValueError, match="The tokenizer has 256 tokens and vocab_size is 255"):
        MemGPT(**{**SIZES, "vocab_size": 255})
    with pytest.raises(ValueError, match="The text has 513 tokens; this model reads at most 512"):
        make_model()(ids(1, 513))
    with pytest.raises(ValueError, match="A neighbor has 514 tokens; this model reads at most 513"):
        make_model()(ids(1, 8), ids(1, 1, 1, 514))
    with pytest.raises(ValueError, match="24 tokens are 3 chunks of 8, and neighbors are given for 2"):
        make_model()(ids(1, 24), ids(1, 2, 1, 4))
    with pytest.raises(ValueError, match="The text is empty"):
        make_model().generate("")
    with pytest.raises(ValueError, match="use_memory is 'maybe'; expected one of always, never, auto"):
        make_model().attach([], use_memory="maybe")
