"""Steps of the pooled head on a CPU, compiled: what one head does between two looks at its validation clips.

The mathematics is that of :mod:`bench.features.probes.pooled_head` and :mod:`bench.features.probes.losses`, which train on other devices and are
what this is tested against. Here one head goes through many steps before the next one begins, so that its parameters and
Adam's moments (1.2 MB for 256 × 384) stay in a core's cache, and the gradient of W₁, an outer product of W₂ and ∂(W₂W₁), is
never written to memory: it lives a row at a time, between being made and being used. Its norm follows from two small
Gram matrices, ‖W₂ᵀG‖² = tr(W₂W₂ᵀ GGᵀ).

Rows of eight outputs are written out, because a compiler makes vector code of sums whose terms it can count; outputs are padded
with zeros to a multiple of eight. Sums may be reassociated, NaN and infinity are kept.

Why there are two ways to take a step: compiled, 105 heads of 256 × 384 (5 layers, 7 classes, 60 steps of 32 clips) train
2.36 times (2.14–2.58, five repeats) as fast as by the batched step in torch's terms, CPU seconds of one core. Measured
2026-11-30 on random features, AMD EPYC, two cores shared with other work, ratios within one repeat; again with
``python -m tests.perf_probes``. Under 1.3 the kernels would not be worth their lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
BLOCK = 8
"""Outputs in a block."""


def _jit(function: Callable[..., Any], *, inlined: bool = False) -> Callable[..., Any]:
    """Compiled at the first call, and kept beside this file or in the user's cache where one of them can be written.

    ``inlined``: the body goes into every caller. Without that a process that compiles and one that finds the kernels in
    the cache link different copies of the small functions, whose sums are grouped differently: other last bits.
    """
    compiled: Callable[..., Any]
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},
        "forceinline": inlined,
    }
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = numba.njit(**options)(function)
    return compiled


def _inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    return _jit(function, inlined=True)


@_jit
def take_steps(
    heads: NDArray[np.int64],
    theta: Floats,
    first: Floats,
    second: Floats,
    steps_taken: int,
    rates: Floats,
    features: Floats,
    scaling: Floats,
    streams: NDArray[np.int64],
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    weights: Floats,
    values: Floats,
    shape: tuple[int, int, int, int],
    clip: float,
    adam: Floats,
) -> None:
    """Take ``rows.shape[1]`` Adam steps with each of ``heads``, in place.

    All floats are of one type.

    Args:
        heads: (chosen,) which heads to train.
        theta: (all heads, parameters), in the order of :class:`bench.features.probes.pooled_head.PooledHeads`.
        first: Adam's first moments, as ``theta``.
        second: Adam's second moments, as ``theta``.
        steps_taken: steps taken before.
        rates: (all heads, steps) learning rates.
        features: (clips, layers, dims).
        scaling: (all heads or 0, 2, layers, dims), mean and 1/deviation.
        streams: (all heads,) which of ``rows`` a head learns from.
        rows: (streams, steps, batch) rows of ``features``.
        labels: (clips,) classes, or (0,) for dimensions.
        weights: (all heads or 0, outputs) of the classes.
        values: (clips, outputs) dimensions, NaN where unknown; (0, 0) for classes.
        shape: layers, dims, hidden, outputs.
        clip: the gradient's largest norm, 0 for none.
        adam: β₁, β₂, ε.
    """
    none = features[:0, 0, 0]
    for i in heads:
        _take_steps_of_head(
            theta[i], first[i], second[i], steps_taken, rates[i], features,
            scaling[i] if len(scaling) else scaling[:0].reshape(0, features.shape[1], features.shape[2]),
            rows[streams[i]], labels, weights[i] if len(weights) else none, values, shape, clip, adam,
        )  # fmt: skip


@_inlined
def _take_steps_of_head(
    theta: Any, first: Any, second: Any, steps_taken: Any, rates: Any, features: Any, scaling: Any, rows: Any,
    labels: Any, weights: Any, values: Any, shape: Any, clip: Any, adam: Any,
) -> None:  # fmt: skip
    layers, dims, hidden, outputs = shape
    of = features.dtype.type
    padded = (outputs + BLOCK - 1) // BLOCK * BLOCK
    ends = np.cumsum(np.array([0, layers, hidden * dims, hidden, outputs * hidden, outputs]))
    a, b1, b2 = theta[: ends[1]], theta[ends[2] : ends[3]], theta[ends[4] : ends[5]]
    w2 = theta[ends[3] : ends[4]].reshape(outputs, hidden)
    gradient = np.zeros(len(theta) - hidden * dims, features.dtype)
    """Of everything but W₁: a, b₁, W₂, b₂."""
    g_a, g_b1 = gradient[:layers], gradient[layers : layers + hidden]
    g_w2 = gradient[layers + hidden : len(gradient) - outputs].reshape(outputs, hidden)
    g_b2 = gradient[len(gradient) - outputs :]
    before = np.zeros((hidden, padded), features.dtype)
    after = np.zeros((hidden, padded), features.dtype)
    weight = np.zeros((padded, dims), features.dtype)
    d_weight = np.zeros((padded, dims), features.dtype)
    # Clips in blocks of eight too: rows past the last are zeros.
    size = rows.shape[1]
    clips = (size + BLOCK - 1) // BLOCK * BLOCK
    mixed = np.zeros((clips, dims), features.dtype)
    d_mixed = np.empty((clips, dims), features.dtype)
    by_output = np.empty((outputs, size), features.dtype)
    scores = np.empty((size, outputs), features.dtype)
    d_scores = np.zeros((clips, padded), features.dtype)
    d_scores_by_output = np.zeros((padded, clips), features.dtype)
    d_mix = np.empty(layers, features.dtype)
    # Lines of the cache begin where a parameter's row does not; copies of what every step walks over do.
    aligned = np.empty((3, hidden * dims), features.dtype)
    for part, of_all in enumerate((theta, first, second)):
        aligned[part] = of_all[ends[1] : ends[2]]
    w1, first_w1, second_w1 = (
        aligned[0].reshape(hidden, dims),
        aligned[1].reshape(hidden, dims),
        aligned[2].reshape(hidden, dims),
    )
    _transpose_padded(w2, after)
    for h in range(hidden):
        for k in range(outputs):
            _add_scaled(weight[k], after[h, k], w1[h])
    for step in range(len(rows)):
        mix = np.exp(a - a.max())
        mix /= mix.sum()
        for k in range(outputs):
            g_b2[k] = b2[k] + _dot(w2[k], b1)
        for n in range(size):
            _mix_layers(features[rows[step, n]], scaling, mix, mixed[n])
        _multiply_transposed(weight, mixed[:size], by_output)
        for k in range(outputs):
            scores[:, k] = by_output[k] + g_b2[k]
        if len(labels):
            _cross_entropy_gradient(scores, rows[step], labels, weights, d_scores)
        else:
            _ccc_gradient(scores, rows[step], values, d_scores)
        for n in range(size):
            for k in range(outputs):
                d_scores_by_output[k, n] = d_scores[n, k]
        d_mix[:] = of(0)
        for k in range(outputs):
            g_b2[k] = d_scores_by_output[k].sum()
        for k in range(0, outputs, 2):
            for n in range(0, clips, BLOCK):
                _sum_eight_rows(
                    d_scores_by_output[k], d_scores_by_output[k + 1], mixed, n, d_weight[k], d_weight[k + 1]
                )
        for n in range(0, size, 2):
            for k in range(0, padded, BLOCK):
                _sum_eight_rows(d_scores[n], d_scores[n + 1], weight, k, d_mixed[n], d_mixed[n + 1])
        for n in range(size):
            _add_mix_gradient(features[rows[step, n]], scaling, d_mixed[n], d_mix)
        g_a[:] = mix * (d_mix - (mix * d_mix).sum())
        _multiply_transposed(d_weight, w1, g_w2)
        g_b1[:] = of(0)
        for k in range(outputs):
            _add_scaled(g_b1, g_b2[k], w2[k])
            _add_scaled(g_w2[k], g_b2[k], b1)
        shrink = of(1)
        if clip > 0:
            norm = np.sqrt(_dot(gradient, gradient) + _product_norm(w2, d_weight))
            if norm > clip:
                shrink = of(clip) / (norm + of(1e-6))
                gradient *= shrink
                d_weight *= shrink
        time = steps_taken + step + 1
        size_of_step = of(rates[step] / (1.0 - float(adam[0]) ** time))
        root = of(1.0 / np.sqrt(1.0 - float(adam[1]) ** time))
        _transpose_padded(w2, before)
        for part, at in ((0, 0), (2, layers), (3, layers + hidden), (4, len(gradient) - outputs)):
            start, end = ends[part], ends[part + 1]
            _adam(
                theta[start:end], first[start:end], second[start:end], gradient[at : at + end - start],
                size_of_step, root, adam,
            )  # fmt: skip
        _transpose_padded(w2, after)
        _update_first_layer(
            w1, first_w1, second_w1, before, after, d_weight, weight, size_of_step, root, adam
        )  # fmt: skip
    for part, of_all in enumerate((theta, first, second)):
        of_all[ends[1] : ends[2]] = aligned[part]


@_inlined
def _update_first_layer(
    w1: Any, first: Any, second: Any, before: Any, after: Any, d_weight: Any, weight: Any,
    size_of_step: Any, root: Any, adam: Any,
) -> None:  # fmt: skip
    """Adam over W₁ with the gradient W₂ᵀ∂W made a row at a time, and the new W₂W₁ on the way."""
    hidden, dims = w1.shape
    padded = d_weight.shape[0]
    pair = np.empty((2, dims), w1.dtype)
    weight[:] = w1.dtype.type(0)
    whole = hidden - hidden % 4
    for h in range(hidden):
        if h % 2 == 0:
            other = min(h + 1, hidden - 1)
            for k in range(0, padded, BLOCK):
                _sum_eight_rows(before[h], before[other], d_weight, k, pair[0], pair[1])
        _adam(w1[h], first[h], second[h], pair[h % 2], size_of_step, root, adam)
        if h % 4 == 3:
            for k in range(0, padded, 2):
                _add_four_rows(after[h - 3 : h + 1, k : k + 2], w1[h - 3 : h + 1], weight[k], weight[k + 1])
    for h in range(whole, hidden):
        for k in range(padded):
            _add_scaled(weight[k], after[h, k], w1[h])


@_inlined
def _adam(w: Any, first: Any, second: Any, gradient: Any, size_of_step: Any, root: Any, adam: Any) -> None:
    """Kingma and Ba (2015), as torch writes it: w −= η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)."""
    beta_1, beta_2, epsilon = adam[0], adam[1], adam[2]
    one = w.dtype.type(1)
    for i in range(len(w)):
        g = gradient[i]
        m = beta_1 * first[i] + (one - beta_1) * g
        v = beta_2 * second[i] + (one - beta_2) * g * g
        first[i] = m
        second[i] = v
        w[i] -= size_of_step * m / (np.sqrt(v) * root + epsilon)


@_inlined
def _sum_eight_rows(by: Any, other_by: Any, rows: Any, k: Any, total: Any, other: Any) -> None:
    """Σ by[k] · rows[k] over eight rows from ``k`` on, for two totals: what they are, or what is added from the second eight on."""
    p0, p1, p2, p3, p4, p5, p6, p7 = (
        by[k], by[k + 1], by[k + 2], by[k + 3], by[k + 4], by[k + 5], by[k + 6], by[k + 7]
    )  # fmt: skip
    q0, q1, q2, q3 = other_by[k], other_by[k + 1], other_by[k + 2], other_by[k + 3]
    q4, q5, q6, q7 = other_by[k + 4], other_by[k + 5], other_by[k + 6], other_by[k + 7]
    r0, r1, r2, r3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
    r4, r5, r6, r7 = rows[k + 4], rows[k + 5], rows[k + 6], rows[k + 7]
    if k == 0:
        for d in range(len(total)):
            x0, x1, x2, x3, x4, x5, x6, x7 = r0[d], r1[d], r2[d], r3[d], r4[d], r5[d], r6[d], r7[d]
            total[d] = p0 * x0 + p1 * x1 + p2 * x2 + p3 * x3 + p4 * x4 + p5 * x5 + p6 * x6 + p7 * x7
            other[d] = q0 * x0 + q1 * x1 + q2 * x2 + q3 * x3 + q4 * x4 + q5 * x5 + q6 * x6 + q7 * x7
        return
    for d in range(len(total)):
        x0, x1, x2, x3, x4, x5, x6, x7 = r0[d], r1[d], r2[d], r3[d], r4[d], r5[d], r6[d], r7[d]
        total[d] += p0 * x0 + p1 * x1 + p2 * x2 + p3 * x3 + p4 * x4 + p5 * x5 + p6 * x6 + p7 * x7
        other[d] += q0 * x0 + q1 * x1 + q2 * x2 + q3 * x3 + q4 * x4 + q5 * x5 + q6 * x6 + q7 * x7


@_inlined
def _add_four_rows(by: Any, rows: Any, one: Any, other: Any) -> None:
    """Add to two totals what four rows give them: ``by`` (4, 2)."""
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    p0, p1, p2, p3 = by[0, 0], by[1, 0], by[2, 0], by[3, 0]
    q0, q1, q2, q3 = by[0, 1], by[1, 1], by[2, 1], by[3, 1]
    for d in range(len(one)):
        x0, x1, x2, x3 = r0[d], r1[d], r2[d], r3[d]
        one[d] += p0 * x0 + p1 * x1 + p2 * x2 + p3 * x3
        other[d] += q0 * x0 + q1 * x1 + q2 * x2 + q3 * x3


@_inlined
def _multiply_transposed(rows: Any, columns: Any, total: Any) -> None:
    """``total`` = rows · columnsᵀ, (few, many): four of ``rows`` with two of ``columns`` at a time share what they read.

    ``rows`` may go on past the last of ``total``, with zeros.
    """
    few, many = total.shape
    zero = rows.dtype.type(0)
    for h in range(0, many, 2):
        other = min(h + 1, many - 1)
        x, y = columns[h], columns[other]
        for k in range(0, few, 4):
            p, q, r, s = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
            xp = xq = xr = xs = yp = yq = yr = ys = zero
            for d in range(len(x)):
                xp += x[d] * p[d]
                xq += x[d] * q[d]
                xr += x[d] * r[d]
                xs += x[d] * s[d]
                yp += y[d] * p[d]
                yq += y[d] * q[d]
                yr += y[d] * r[d]
                ys += y[d] * s[d]
            for at, (left, right) in enumerate(((xp, yp), (xq, yq), (xr, yr), (xs, ys))):
                if k + at < few:
                    total[k + at, h] = left
                    total[k + at, other] = right


@_inlined
def _product_norm(w2: Any, d_weight: Any) -> Any:
    """‖W₂ᵀ∂W‖²."""
    outputs = len(w2)
    total = w2.dtype.type(0)
    for j in range(outputs):
        total += _dot(w2[j], w2[j]) * _dot(d_weight[j], d_weight[j])
        for k in range(j):
            total += w2.dtype.type(2) * _dot(w2[j], w2[k]) * _dot(d_weight[j], d_weight[k])
    return max(total, w2.dtype.type(0)) if total == total else total


@_inlined
def _mix_layers(clip: Any, scaling: Any, mix: Any, mixed: Any) -> None:
    """Σ_l w_l h̄_l of one clip (layers, dims), standardised where asked."""
    mixed[:] = mixed.dtype.type(0)
    for layer in range(len(mix)):
        share, x = mix[layer], clip[layer]
        if len(scaling):
            mean, inverse = scaling[0, layer], scaling[1, layer]
            for d in range(len(mixed)):
                mixed[d] += share * ((x[d] - mean[d]) * inverse[d])
        else:
            _add_scaled(mixed, share, x)


@_inlined
def _add_mix_gradient(clip: Any, scaling: Any, d_mixed: Any, d_mix: Any) -> None:
    """Add one clip's share of ∂ loss / ∂ layer weights."""
    for layer in range(len(d_mix)):
        x = clip[layer]
        total = d_mixed.dtype.type(0)
        if len(scaling):
            mean, inverse = scaling[0, layer], scaling[1, layer]
            for d in range(len(d_mixed)):
                total += d_mixed[d] * ((x[d] - mean[d]) * inverse[d])
        else:
            total = _dot(d_mixed, x)
        d_mix[layer] += total


@_inlined
def _cross_entropy_gradient(scores: Any, rows: Any, labels: Any, weights: Any, d_scores: Any) -> None:
    """∂ (weighted) mean cross-entropy / ∂ scores."""
    total = scores.dtype.type(0)
    for n in range(len(rows)):
        total += weights[labels[rows[n]]] if len(weights) else scores.dtype.type(1)
    for n in range(len(rows)):
        label = labels[rows[n]]
        share = (weights[label] if len(weights) else scores.dtype.type(1)) / total
        probabilities = np.exp(scores[n] - scores[n].max())
        d_scores[n, : len(probabilities)] = probabilities * (share / probabilities.sum())
        d_scores[n, label] -= share


@_inlined
def _ccc_gradient(scores: Any, rows: Any, values: Any, d_scores: Any) -> None:
    """∂ (mean over dimensions of 1 − CCC of sigmoid(scores)) / ∂ scores; a dimension with fewer than two known clips is left out."""
    size, outputs = scores.shape
    of = scores.dtype.type
    usable = 0
    answer = of(1) / (of(1) + np.exp(-scores))
    d_scores[:] = of(0)
    for k in range(outputs):
        known = 0
        mean_x = mean_y = of(0)
        for n in range(size):
            if np.isfinite(values[rows[n], k]):
                known += 1
                mean_x += answer[n, k]
                mean_y += values[rows[n], k]
        if known < 2:
            continue
        usable += 1
        count = of(known)
        mean_x /= count
        mean_y /= count
        spread = covariance = of(0)
        for n in range(size):
            if np.isfinite(values[rows[n], k]):
                dx, dy = answer[n, k] - mean_x, values[rows[n], k] - mean_y
                spread += dx * dx + dy * dy
                covariance += dx * dy
        spread = spread / count + (mean_x - mean_y) ** 2
        covariance /= count
        varies = of(1) if spread >= of(1e-12) else of(0)
        spread = max(spread, of(1e-12)) if spread == spread else spread
        for n in range(size):
            if np.isfinite(values[rows[n], k]):
                dx, dy = answer[n, k] - mean_x, values[rows[n], k] - mean_y
                steep = of(2) * dy / spread - of(4) * varies * covariance / spread**2 * (dx + mean_x - mean_y)
                d_scores[n, k] = -steep / count * answer[n, k] * (of(1) - answer[n, k])
    if usable:
        d_scores /= of(usable)


@_inlined
def _add_scaled(total: Any, by: Any, row: Any) -> None:
    """``total`` += by · row."""
    for d in range(len(total)):
        total[d] += by * row[d]


@_inlined
def _dot(left: Any, right: Any) -> Any:
    total = left.dtype.type(0)
    for d in range(len(left)):
        total += left[d] * right[d]
    return total


@_inlined
def _transpose_padded(w2: Any, d_scores_by_output: Any) -> None:
    """W₂ᵀ into (hidden, padded outputs)."""
    for k in range(len(w2)):
        d_scores_by_output[:, k] = w2[k]
