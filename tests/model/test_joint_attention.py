"""The formula against a slow version of itself in float64 that loops over everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from memgpt_rag.model.attention import (
    UNSEEN,
    LocalTokens,
    MemoryTokens,
    MemoryValues,
    ScoreSettings,
    joint_attention,
)


def reference(
    query,
    local_key,
    local_value,
    local_mask,
    memory_key,
    memory_value,
    memory_mask,
    *,
    scaling,
    inverse_temperature=1.0,
    offset=0.0,
    top_m=None,
    null_score=None,
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
            sharper, raised = (
                float(per_head[head] if isinstance(per_head, torch.Tensor) else per_head)
                for per_head in (inverse_temperature, offset)
            )
            shared = head // (heads // kv_heads)
            for place in range(queries):
                asked = query[row, head, place].double().numpy()
                scores = {}
                for token in range(tokens):
                    bias = float(memory_mask[own, 0, place, token])
                    if bias > UNSEEN / 2:
                        dot = float(asked @ memory_key[own, shared, token].double().numpy())
                        scores["memory", token] = cap(dot * scaling * sharper) + bias + raised
                if top_m is not None:
                    best = sorted(scores, key=lambda at: -scores[at])[:top_m]
                    scores = {at: scores[at] for at in best}
                for token in range(local_key.shape[2]):
                    if local_mask[row, 0, place, token] == 0:
                        scores["local", token] = cap(
                            float(asked @ local_key[row, shared, token].double().numpy()) * scaling
                        )
                read = any(where == "memory" for where, _ in scores)
                slots = (sinks, null_score if read else None)
                slots = [torch.as_tensor(slot).expand(heads)[head] for slot in slots if slot is not None]
                total = sum(math.exp(score) for score in [*scores.values(), *slots])
                for (where, token), score in scores.items():
                    weight = math.exp(score) / total
                    value = memory_value[own, shared, token] if where == "memory" else local_value[row, shared, token]
                    output[row, head, place] += weight * value.double().numpy()
                    if where == "memory":
                        weights[row, head, place, token] = weight
    return output, weights


def joint(query, local_key, local_value, local_mask, memory_key, memory_value, memory_mask, *, dropout=0.0, **settings):
    """Output, and the weight of every memory token."""
    values = memory_value if isinstance(memory_value, MemoryValues) else MemoryValues(memory_value)
    output, weights = joint_attention(
        query,
        LocalTokens(local_key, local_value, local_mask),
        MemoryTokens(memory_key, values, memory_mask),
        ScoreSettings(**settings),
        dropout=dropout,
    )
    return output, weights.dense(values.codes.shape[2])


def make_mask(visible):
    return torch.zeros(visible.shape).masked_fill(~visible, UNSEEN)


def inputs(*, batch=2, beams=1, heads=4, kv_heads=2, queries=3, locals=5, tokens=7, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    rows = batch * beams
    causal = torch.ones(queries, locals, dtype=torch.bool).tril(locals - queries)
    return {
        "query": normal(rows, heads, queries, dim),
        "local_key": normal(rows, kv_heads, locals, dim),
        "local_value": normal(rows, kv_heads, locals, dim),
        "local_mask": make_mask(causal.expand(rows, 1, -1, -1)),
        "memory_key": normal(batch, kv_heads, tokens, dim),
        "memory_value": normal(batch, kv_heads, tokens, dim),
        "memory_mask": make_mask(torch.rand(batch, 1, queries, tokens, generator=generator) < 0.8)
        + normal(batch, 1, 1, tokens),
    }


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"inverse_temperature": 1.7},
        {"inverse_temperature": torch.tensor([0.5, 1.0, 1.5, 2.0]), "offset": torch.tensor([-1.0, 0.0, 0.5, 2.0])},
        {"offset": -0.7, "top_m": 3},
        {"top_m": 3},
        {"top_m": 1, "inverse_temperature": 0.6},
        {"softcap": 1.5},
        {"sinks": torch.tensor([0.5, -1.0, 2.0, 0.0])},
        {"null_score": 0.5},
        {
            "null_score": torch.tensor([0.5, -1.0, 2.0, 0.0]),
            "offset": -0.7,
            "sinks": torch.tensor([0.5, -1.0, 2.0, 0.0]),
        },
        {"top_m": 2, "softcap": 2.0, "sinks": torch.tensor([1.0, 1.0, -2.0, 0.0]), "inverse_temperature": 1.2},
    ],
    ids=lambda settings: "+".join(settings) or "plain",
)
def test_joint_attention_equals_the_formula_in_float64(heads, kv_heads, beams, settings):
    given = inputs(heads=heads, kv_heads=kv_heads, beams=beams)
    output, weights = joint(**given, scaling=8**-0.5, **settings)
    expected_output, expected_weights = reference(**given, scaling=8**-0.5, **settings)
    np.testing.assert_allclose(output.numpy(), expected_output, atol=2e-6)
    np.testing.assert_allclose(weights.numpy(), expected_weights, atol=2e-6)


@pytest.mark.parametrize("top_m", [None, 3])
def test_where_no_memory_is_seen_the_null_slot_takes_nothing_either(top_m):
    given = inputs()
    given["memory_mask"][0] = UNSEEN
    settings = {"scaling": 8**-0.5, "top_m": top_m}
    with_slot, _ = joint(**given, null_score=2.0, **settings)
    without, _ = joint(**given, **settings)
    torch.testing.assert_close(with_slot[0], without[0])
    assert (with_slot[1] - without[1]).abs().max() > 0.1
    expected, _ = reference(**given, null_score=2.0, **settings)
    np.testing.assert_allclose(with_slot.numpy(), expected, atol=2e-6)


def test_a_batch_of_one_with_one_key_head_equals_the_formula_too():
    given = inputs(batch=1, kv_heads=1, queries=1)
    output, weights = joint(**given, scaling=8**-0.5, top_m=3)
    expected_output, expected_weights = reference(**given, scaling=8**-0.5, top_m=3)
    np.testing.assert_allclose(output.numpy(), expected_output, atol=2e-6)
    np.testing.assert_allclose(weights.numpy(), expected_weights, atol=2e-6)


def test_gradients_of_the_numbers_per_head_are_those_of_finite_differences():
    given = {name: tensor.double() for name, tensor in inputs(batch=1, kv_heads=1).items()}
    numbers = [
        torch.tensor(head_values).double().requires_grad_()
        for head_values in ([0.6, 1.0, 1.4, 2.0], [-1.0, 0.0, 0.5, 2.0], [0.5, -1.0, 2.0, 0.0])
    ]

    def output(temperature, offset, null):
        settings = {"inverse_temperature": temperature, "offset": offset, "null_score": null}
        return joint(**given, scaling=0.3, top_m=4, **settings)[0]

    assert torch.autograd.gradcheck(output, numbers)


def test_memory_without_bias_is_plain_attention_over_longer_keys():
    given = inputs() | {"memory_mask": torch.zeros(2, 1, 1, 7)}
    output, _ = joint(**given, scaling=8**-0.5)
    plain = torch.nn.functional.scaled_dot_product_attention(
        given["query"],
        torch.cat([given["memory_key"], given["local_key"]], dim=2),
        torch.cat([given["memory_value"], given["local_value"]], dim=2),
        attn_mask=torch.cat([torch.zeros(2, 1, 3, 7), given["local_mask"]], dim=-1),
        enable_gqa=True,
    )
    torch.testing.assert_close(output, plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [0.0, -0.7])
def test_parts_computed_apart_and_merged_by_their_log_sum_exp_are_one_softmax(offset):
    given = inputs(heads=4, kv_heads=4)
    together, weights = joint(**given, scaling=8**-0.5, offset=offset)
    parts = {"memory": given["local_mask"], "local": given["memory_mask"]}
    hidden = {item: torch.full_like(mask, UNSEEN) for item, mask in parts.items()}
    reads = [
        joint(**given | {"local_mask": hidden["memory"]}, scaling=8**-0.5, offset=offset)[0],
        joint(**given | {"memory_mask": hidden["local"]}, scaling=8**-0.5, offset=offset)[0],
    ]
    scores = [
        given["query"] @ given[key].mT * 8**-0.5 + given[mask] + raised
        for key, mask, raised in (("memory_key", "memory_mask", offset), ("local_key", "local_mask", 0.0))
    ]
    shares = torch.stack([per_part.logsumexp(-1) for per_part in scores]).softmax(0)
    merged = sum(share[..., None] * read for share, read in zip(shares, reads, strict=True))
    torch.testing.assert_close(merged, together, atol=1e-5, rtol=0)
    torch.testing.assert_close(shares[0], weights.sum(-1), atol=1e-5, rtol=0)


def test_top_m_of_all_tokens_is_dense():
    given = inputs() | {"memory_mask": torch.zeros(2, 1, 1, 7)}
    dense, _ = joint(**given, scaling=1.0)
    for top_m in (7, 8, 1000):
        assert torch.equal(joint(**given, scaling=1.0, top_m=top_m)[0], dense)
    assert not torch.allclose(joint(**given, scaling=1.0, top_m=6)[0], dense, atol=1e-4)


def test_memory_of_nothing_but_padding_takes_no_weight():
    given = inputs() | {"memory_mask": torch.full((2, 1, 3, 7), UNSEEN)}
    output, weights = joint(**given, scaling=1.0)
    assert weights.abs().max() == 0
    local_only = torch.nn.functional.scaled_dot_product_attention(
        given["query"],
        given["local_key"],
        given["local_value"],
        attn_mask=given["local_mask"],
        scale=1.0,
        enable_gqa=True,
    )
    torch.testing.assert_close(output, local_only, atol=1e-6, rtol=0)


def test_a_query_that_sees_nothing_gives_numbers():
    nothing = {"memory_mask": torch.full((2, 1, 3, 7), UNSEEN), "local_mask": torch.full((2, 1, 3, 5), UNSEEN)}
    output, _ = joint(**inputs() | nothing, scaling=1.0)
    assert torch.isfinite(output).all()


def test_a_higher_bias_moves_weight_to_its_entry():
    given = inputs()
    raised = given | {"memory_mask": given["memory_mask"] + torch.tensor([2.0] * 3 + [0.0] * 4)}
    _, before = joint(**given, scaling=1.0)
    _, after = joint(**raised, scaling=1.0)
    seen = (given["memory_mask"] > UNSEEN / 2).expand_as(before)
    assert (after[..., :3] > before[..., :3])[seen[..., :3]].all()
    assert (after[..., 3:] <= before[..., 3:]).all()


@pytest.mark.parametrize("batch, beams, kv_heads", [(1, 1, 1), (2, 1, 2), (2, 3, 1)])
@pytest.mark.parametrize("top_m", [None, 3])
def test_values_in_int8_give_what_the_numbers_give_that_they_stand_for(batch, beams, kv_heads, top_m):
    given = inputs(batch=batch, beams=beams, kv_heads=kv_heads)
    scales = given["memory_value"].abs().amax(-1) / 127
    codes = MemoryValues((given["memory_value"] / scales[..., None]).round().to(torch.int8), scales)
    temperature = torch.ones(4, requires_grad=True)
    settings = {"scaling": 8**-0.5, "top_m": top_m, "inverse_temperature": temperature}
    widened, (read, weights) = codes.widened(torch.float32), joint(**given | {"memory_value": codes}, **settings)
    expected_read, expected_weights = joint(**given | {"memory_value": widened}, **settings)
    torch.testing.assert_close(read, expected_read, atol=1e-6, rtol=0)
    assert torch.equal(weights, expected_weights)
    (gradient,), (expected,) = (torch.autograd.grad(item.square().sum(), temperature) for item in (read, expected_read))
    torch.testing.assert_close(gradient, expected)
    assert not torch.allclose(
        joint(**given | {"memory_value": MemoryValues(codes.codes, scales.roll(1, 2))}, **settings)[0], read, atol=1e-2
    )
