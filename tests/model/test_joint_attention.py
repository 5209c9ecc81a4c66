"""The formula against a slow version of itself in float64 that loops over everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from memgpt_rag.model.attention import joint_attention


def reference(
    query,
    local_key,
    local_value,
    local_visible,
    memory_key,
    memory_value,
    memory_visible,
    memory_bias,
    *,
    scaling,
    inverse_temperature=1.0,
    top_m=None,
    softcap=None,
    sinks=None,
):
    """One query at a time, one number at a time, in float64."""
    rows, heads, queries, _ = query.shape
    batch, kv_heads, tokens, value_dim = memory_value.shape
    output = np.zeros((rows, heads, queries, value_dim))
    weights = np.zeros((rows, heads, queries, tokens))
    cap = (lambda score: softcap * math.tanh(score / softcap)) if softcap else (lambda score: score)
    for row in range(rows):
        own = row // (rows // batch)
        for head in range(heads):
            shared = head // (heads // kv_heads)
            for place in range(queries):
                asked = query[row, head, place].double().numpy()
                scores = {}
                for token in range(tokens):
                    if memory_visible[own, place if memory_visible.shape[1] > 1 else 0, token]:
                        dot = float(asked @ memory_key[own, shared, token].double().numpy())
                        scores["memory", token] = cap(dot * scaling * inverse_temperature) + float(
                            memory_bias[own, token]
                        )
                if top_m is not None:
                    best = sorted(scores, key=lambda at: -scores[at])[:top_m]
                    scores = {at: scores[at] for at in best}
                for token in range(local_key.shape[2]):
                    if local_visible[row if local_visible.shape[0] > 1 else 0, 0, place, token]:
                        scores["local", token] = cap(
                            float(asked @ local_key[row, shared, token].double().numpy()) * scaling
                        )
                total = sum(math.exp(score) for score in scores.values()) + (
                    math.exp(float(sinks[head])) if sinks is not None else 0
                )
                for (where, token), score in scores.items():
                    weight = math.exp(score) / total
                    value = memory_value[own, shared, token] if where == "memory" else local_value[row, shared, token]
                    output[row, head, place] += weight * value.double().numpy()
                    if where == "memory":
                        weights[row, head, place, token] = weight
    return output, weights


def inputs(*, batch=2, beams=1, heads=4, kv_heads=2, queries=3, locals=5, tokens=7, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    rows = batch * beams
    causal = torch.ones(queries, locals, dtype=torch.bool).tril(locals - queries)
    return {
        "query": normal(rows, heads, queries, dim),
        "local_key": normal(rows, kv_heads, locals, dim),
        "local_value": normal(rows, kv_heads, locals, dim),
        "local_visible": causal.expand(rows, 1, -1, -1),
        "memory_key": normal(batch, kv_heads, tokens, dim),
        "memory_value": normal(batch, kv_heads, tokens, dim),
        "memory_visible": torch.rand(batch, queries, tokens, generator=generator) < 0.8,
        "memory_bias": normal(batch, tokens),
    }


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"inverse_temperature": 1.7},
        {"top_m": 3},
        {"top_m": 1, "inverse_temperature": 0.6},
        {"softcap": 1.5},
        {"sinks": torch.tensor([0.5, -1.0, 2.0, 0.0])},
        {"top_m": 2, "softcap": 2.0, "sinks": torch.tensor([1.0, 1.0, -2.0, 0.0]), "inverse_temperature": 1.2},
    ],
    ids=lambda settings: "+".join(settings) or "plain",
)
def test_joint_attention_equals_the_formula_in_float64(heads, kv_heads, beams, settings):
    given = inputs(heads=heads, kv_heads=kv_heads, beams=beams)
    output, weights = joint_attention(**given, scaling=8**-0.5, **settings)
    expected_output, expected_weights = reference(**given, scaling=8**-0.5, **settings)
    np.testing.assert_allclose(output.numpy(), expected_output, atol=2e-6)
    np.testing.assert_allclose(weights.numpy(), expected_weights, atol=2e-6)


def test_memory_without_bias_is_plain_attention_over_longer_keys():
    given = inputs() | {"memory_bias": torch.zeros(2, 7), "memory_visible": torch.ones(2, 1, 7, dtype=torch.bool)}
    output, _ = joint_attention(**given, scaling=8**-0.5)
    mask = torch.cat([torch.ones(2, 1, 3, 7, dtype=torch.bool), given["local_visible"]], dim=-1)
    plain = torch.nn.functional.scaled_dot_product_attention(
        given["query"],
        torch.cat([given["memory_key"], given["local_key"]], dim=2),
        torch.cat([given["memory_value"], given["local_value"]], dim=2),
        attn_mask=mask,
        enable_gqa=True,
    )
    torch.testing.assert_close(output, plain, atol=1e-6, rtol=0)


def test_top_m_of_all_tokens_is_dense():
    given = inputs()
    dense, _ = joint_attention(**given, scaling=1.0)
    for top_m in (7, 8, 1000):
        assert torch.equal(joint_attention(**given, scaling=1.0, top_m=top_m)[0], dense)
    assert not torch.allclose(joint_attention(**given, scaling=1.0, top_m=6)[0], dense, atol=1e-4)


def test_weights_sum_to_one_with_an_entry_that_is_only_padding():
    given = inputs() | {"memory_visible": torch.zeros(2, 3, 7, dtype=torch.bool)}
    output, weights = joint_attention(**given, scaling=1.0)
    assert weights.abs().max() == 0
    local_only = torch.nn.functional.scaled_dot_product_attention(
        given["query"],
        given["local_key"],
        given["local_value"],
        attn_mask=given["local_visible"],
        scale=1.0,
        enable_gqa=True,
    )
    torch.testing.assert_close(output, local_only, atol=1e-6, rtol=0)


def test_a_query_that_sees_nothing_gives_numbers():
    given = inputs() | {
        "memory_visible": torch.zeros(2, 3, 7, dtype=torch.bool),
        "local_visible": torch.zeros(2, 1, 3, 5, dtype=torch.bool),
    }
    output, _ = joint_attention(**given, scaling=1.0)
    assert torch.isfinite(output).all()


def test_a_higher_bias_moves_weight_to_its_entry():
    given = inputs()
    raised = given | {"memory_bias": given["memory_bias"] + torch.tensor([2.0] * 3 + [0.0] * 4)}
    _, before = joint_attention(**given, scaling=1.0)
    _, after = joint_attention(**raised, scaling=1.0)
    seen = given["memory_visible"][:, None].expand_as(before)[..., :3]
    assert (after[..., :3] > before[..., :3])[seen].all()
    assert (after[..., 3:] <= before[..., 3:]).all()
