"""The formula against plain matrix algebra and against the energy of a Hopfield network; the learned layer against itself without memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memgpt_rag.model.attention import UNSEEN
from memgpt_rag.model.from_scratch.memory_layer import (
    FormulaLayer,
    MemoryLayer,
    MemoryLayerConfig,
    memory_formula,
    similarity_scores,
)

D, TOKENS, SLOTS = 12, 5, 7


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in ((D, D), (3, TOKENS, D), (3, SLOTS, D))]


def algebra(weight, x, memory):
    """Columns, as the formula is written: Y = W X + M softmax(Mᵀ X), in float64."""
    outputs = []
    for tokens, vectors in zip(x, memory, strict=True):
        w, columns, m = (tensor.double().numpy() for tensor in (weight, tokens.T, vectors.T))
        scores = np.exp(m.T @ columns)
        outputs.append((w @ columns + m @ (scores / scores.sum(axis=0))).T)
    return np.stack(outputs)


def test_the_formula_equals_matrix_algebra(tensors):
    weight, x, memory = tensors
    expected = algebra(weight, x, memory)
    in_double = memory_formula(*(tensor.double() for tensor in (x, weight, memory)))
    np.testing.assert_allclose(in_double.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(memory_formula(x, weight, memory).numpy(), expected, rtol=1e-4, atol=1e-5)
    layer = FormulaLayer(D).double()
    layer.local.weight.data.copy_(weight)
    np.testing.assert_allclose(layer(x.double(), memory.double()).output.detach().numpy(), expected, rtol=1e-12)


def test_the_memory_path_is_a_step_down_the_energy_of_a_hopfield_network(tensors):
    _, x, memory = (tensor.double() for tensor in tensors)
    state = x.clone().requires_grad_()
    energy = state.square().sum() / 2 - torch.logsumexp(state @ memory.transpose(-1, -2), dim=-1).sum()
    (gradient,) = torch.autograd.grad(energy, state)
    read = memory_formula(x, torch.zeros(D, D, dtype=torch.float64), memory)
    torch.testing.assert_close(read, x - gradient, rtol=1e-6, atol=1e-12)


def test_the_literal_formula_cannot_single_out_an_entry_by_cosine():
    """Why `sum` has a temperature: of 32 unit vectors, the one at cosine 0.8 gets less than a tenth of the weight."""
    x, memory = torch.zeros(1, 1, 64), torch.zeros(1, 32, 64)
    memory[0, range(32), range(32)] = 1
    x[0, 0, 0], x[0, 0, 40] = 0.8, 0.6
    share = FormulaLayer(64)(x, memory).weights[0, 0, 0]
    assert share == pytest.approx(0.067, abs=5e-4)
    layer = MemoryLayer(64)
    for project in (layer.query, layer.key):
        torch.nn.init.eye_(project.weight)
    assert layer(x, memory).weights[0, 0, 0] > 0.99


def test_similarities(tensors):
    _, x, memory = (tensor.double() for tensor in tensors)
    torch.testing.assert_close(similarity_scores(x, memory, "euclidean"), -(torch.cdist(x, memory) ** 2) / 2)
    cosine = torch.cosine_similarity(x[:, :, None], memory[:, None], dim=-1)
    torch.testing.assert_close(similarity_scores(x, memory, "cosine"), cosine)
    unit_x, unit_memory = (torch.nn.functional.normalize(tensor, dim=-1) for tensor in (x, memory))
    torch.testing.assert_close(similarity_scores(unit_x, unit_memory, "euclidean"), cosine - 1)


def test_an_untrained_sum_changes_nothing(tensors):
    _, x, memory = tensors
    layer = MemoryLayer(D, MemoryLayerConfig(3))
    assert torch.equal(layer(x, memory).output, x)
    assert torch.equal(layer(x, memory, local=2 * x).output, 2 * x)


def trained(**settings) -> MemoryLayer:
    layer = MemoryLayer(D, MemoryLayerConfig(3, **settings))
    generator = torch.Generator().manual_seed(1)
    for parameter in (layer.gate, layer.null_score):
        parameter.data.normal_(generator=generator)
    return layer.double()


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
def test_a_hidden_vector_is_as_if_it_were_not_there(tensors, similarity):
    _, x, memory = (tensor.double() for tensor in tensors)
    layer, bias = trained(similarity=similarity), torch.zeros(3, 1, SLOTS, dtype=torch.float64)
    bias[:, :, 4:] = UNSEEN
    hidden, absent = layer(x, memory, bias=bias), layer(x, memory[:, :4])
    torch.testing.assert_close(hidden.output, absent.output)
    torch.testing.assert_close(hidden.weights[..., :4], absent.weights)
    assert hidden.weights[..., 4:].max() == 0


def test_the_order_of_memory_does_not_matter_and_mass_goes_by_entry(tensors):
    _, x, memory = (tensor.double() for tensor in tensors)
    layer, order, entry = (
        trained(),
        torch.randperm(SLOTS, generator=torch.Generator().manual_seed(2)),
        torch.tensor([0, 0, 1, 1, 1, 2, 2]),
    )
    one, other = layer(x, memory), layer(x, memory[:, order])
    torch.testing.assert_close(one.output, other.output)
    torch.testing.assert_close(one.entry_mass(entry, 3), other.entry_mass(entry[order], 3))
    torch.testing.assert_close(one.entry_mass(entry, 3)[..., 1], one.weights[..., 2:5].sum(-1))
    assert (one.weights.sum(-1) < 1).all(), "the null slot takes its part"


def test_top_m_of_all_is_dense_and_of_one_reads_one(tensors):
    _, x, memory = (tensor.double() for tensor in tensors)
    torch.manual_seed(0)
    layer = trained()
    dense = layer(x, memory)
    layer.top_m = SLOTS
    assert torch.equal(layer(x, memory).output, dense.output)
    layer.top_m = 1
    assert ((layer(x, memory).weights > 0).sum(-1) <= 3).all(), "one for each of three heads"


@pytest.mark.parametrize(
    "settings", [{}, {"similarity": "dot"}, {"similarity": "euclidean"}, {"top_m": 3}, {"d_memory": 4}], ids=str
)
def test_gradients_equal_finite_differences(tensors, settings):
    _, x, memory = (tensor.double() for tensor in tensors)
    x, memory = x[:1, :2], memory[:1, :, : settings.get("d_memory", D)]
    layer = trained(**settings)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def output(x, memory, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, memory)).output

    values = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    assert torch.autograd.gradcheck(output, (x.requires_grad_(), memory.requires_grad_(), *values), fast_mode=True)


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"similarity": "angle"}, "There is no similarity 'angle'; expected dot, cosine, euclidean"),
        ({"nhead": 5}, "d_model is 12 and nhead 5; expected heads of equal size"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        MemoryLayer(D, MemoryLayerConfig(**settings))
