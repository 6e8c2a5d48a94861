"""Distances between two sets of feature vectors, as plain functions on arrays.

Nothing here knows of images or networks. A Fréchet distance is called FID, and a kernel distance
KID, only where the features are Inception-v3's (`evaluate.py` sees to it).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

Features = Tensor | np.ndarray
CHUNK = 2000


def frechet_distance(real: Features, samples: Features) -> float:
    """Squared Fréchet distance between normal distributions fitted to both sets.

    |mean difference|^2 + tr(A + B - 2 (A B)^(1/2)) for covariances A and B (of N - 1). The estimate
    is too high by an amount that falls with the number of images, so compare at equal numbers.

    Args:
        real, samples: (N, D) and (M, D), two rows at least.

    Source: Heusel et al. 2017, *GANs Trained by a Two Time-Scale Update Rule*, equation 6.
    """
    real, samples = _checked(real, samples, least=2)
    roots = []
    for features in (real, samples):
        centred = (features - features.mean(0)) / math.sqrt(len(features) - 1)
        roots.append(torch.linalg.qr(centred, mode="r").R)  # R^T R is the covariance
    # (A B)^(1/2) has the trace of the singular values of R_A R_B^T, which never squares an error.
    joint = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    spread = sum(root.square().sum() for root in roots)
    return ((real.mean(0) - samples.mean(0)).square().sum() + spread - 2 * joint).item()


def kernel_distance(real: Features, samples: Features) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased, over all pairs.

    Its expectation does not depend on the number of images, and is 0 for equal distributions; an
    estimate may be below 0.

    Args:
        real, samples: (N, D) and (M, D), two rows at least.

    Source: Binkowski et al. 2018, *Demystifying MMD GANs*.
    """
    real, samples = _checked(real, samples, least=2)

    def kernel_sum(a: Tensor, b: Tensor) -> float:
        one = a.new_ones(())
        blocks = (torch.addmm(one, part, b.T, alpha=1 / a.shape[1]) for part in a.split(CHUNK))
        return sum(torch.dot(x.flatten(), (x * x).flatten()).item() for x in blocks)

    def among_others(a: Tensor) -> float:
        own = (a.square().sum(1) / a.shape[1] + 1).pow(3).sum().item()
        return (kernel_sum(a, a) - own) / (len(a) * (len(a) - 1))

    across = kernel_sum(real, samples) / (len(real) * len(samples))
    return among_others(real) + among_others(samples) - 2 * across


def precision_recall(real: Features, samples: Features, k: int = 3) -> tuple[float, float]:
    """Share of samples inside the real set's manifold, and of real images inside the samples'.

    A manifold is the union of balls around a set's points, each reaching to its k-th nearest
    other point.

    Args:
        real, samples: (N, D) and (M, D), k + 1 rows at least.

    Source: Kynkäänniemi et al. 2019, *Improved Precision and Recall Metric*.
    """
    real, samples = _checked(real, samples, least=k + 1)
    return _inside(samples, real, _radii(real, k)), _inside(real, samples, _radii(samples, k))


def density_coverage(real: Features, samples: Features, k: int = 5) -> tuple[float, float]:
    """How many real balls a sample lies in, over k; and the share of real balls that hold a sample.

    A ball reaches from a real point to its k-th nearest other real point. Equal distributions
    have density 1 and, where both sets are large and equally so, coverage 1 - 2^-k.

    Args:
        real, samples: (N, D) and (M, D), k + 1 real rows at least.

    Source: Naeem et al. 2020, *Reliable Fidelity and Diversity Metrics for Generative Models*.
    """
    real, samples = _checked(real, samples, least=k + 1)
    radii = _radii(real, k)
    held = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    pairs = 0
    for squared in _squared_distances(samples, real):
        within = squared < radii
        pairs += int(within.sum())
        held |= within.any(0)
    return pairs / (k * len(samples)), held.double().mean().item()


def inception_score(logits: Features, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """exp of the mean KL divergence between p(y|x) and p(y): mean and spread over `splits` parts.

    Args:
        logits: (N, classes), `splits` rows at least, put into a random order first.

    Source: Salimans et al. 2016, *Improved Techniques for Training GANs*.
    """
    logits = torch.as_tensor(logits).double()
    if logits.ndim != 2 or len(logits) < splits:
        raise ValueError(f"logits are {tuple(logits.shape)}; (N, classes) is needed, N >= {splits}")
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    scores = []
    for part in logits[order.to(logits.device)].tensor_split(splits):
        log_p = part.log_softmax(1)
        log_mean = log_p.logsumexp(0) - math.log(len(part))
        scores.append((log_p.exp() * (log_p - log_mean)).sum(1).mean().exp().item())
    return float(np.mean(scores)), float(np.std(scores))


def nearest(queries: Tensor, keys: Iterable[Tensor], k: int) -> tuple[Tensor, Tensor]:
    """Distances and indices, (N, k) each, of the k nearest keys of every query, nearest first.

    Args:
        queries: (N, D).
        keys: parts (M_i, D) of one long list, so that it need not fit in memory.
            Indices count through all parts, which hold k rows or more together.
    """
    distances = queries.new_full((len(queries), k), math.inf, dtype=torch.float64)
    indices = torch.zeros((len(queries), k), dtype=torch.long, device=queries.device)
    start = 0
    for part in keys:
        found = min(k, len(part))
        for rows in torch.arange(len(queries), device=queries.device).split(CHUNK):
            some = queries[rows]
            squared = torch.addmm(part.square().sum(1), some, part.T, alpha=-2)
            close = squared.topk(found, largest=False).indices  # (n, found)
            # The expanded square cancels where points almost coincide: take these distances anew.
            exact = torch.stack([(some - part[column]).double().norm(dim=1) for column in close.T])
            both = torch.cat([distances[rows], exact.T], 1)
            names = torch.cat([indices[rows], close + start], 1)
            distances[rows], order = both.topk(k, largest=False)
            indices[rows] = names.gather(1, order)
        start += len(part)
    if start < k:
        raise ValueError(f"{k} nearest of {start} keys are asked for")
    return distances, indices


def closer_share(distances: Features, other_distances: Features) -> float:
    """Chance that one of `distances` is smaller than one of `other_distances`; ties count half.

    (N,), (M,) -> 0 to 1; 0.5 for two samples of one distribution.
    """
    first = torch.as_tensor(distances).flatten().contiguous()
    second = torch.as_tensor(other_distances).flatten().sort().values
    up_to = torch.searchsorted(second, first, right=True)
    below = torch.searchsorted(second, first)
    return 1 - (up_to + below).double().mean().item() / (2 * len(second))


def _checked(real: Features, samples: Features, least: int) -> tuple[Tensor, Tensor]:
    """Both as float64. Raises ValueError for shapes that do not fit and values not finite."""
    first, second = (torch.as_tensor(features).double() for features in (real, samples))
    shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features are {shapes}; (N, D) and (M, D) are needed")
    if min(len(first), len(second)) < least:
        raise ValueError(f"features are {shapes}; {least} rows of each are needed at least")
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("features hold numbers that are not finite")
    return first, second


def _squared_distances(queries: Tensor, keys: Tensor) -> Iterator[Tensor]:
    """(n, M) for successive rows of the queries; at most CHUNK rows at a time."""
    key_norms = keys.square().sum(1)
    for part in queries.split(CHUNK):
        # In this order d(a, b) and d(b, a) are rounded alike, so that ties at a radius hold.
        squared = part.square().sum(1)[:, None] + key_norms
        yield squared.addmm_(part, keys.T, alpha=-2).clamp_(min=0)


def _radii(points: Tensor, k: int) -> Tensor:
    """(N,) squared distance of every point to its k-th nearest other point."""
    # A point is its own nearest: the k-th nearest other is the (k + 1)-th of all.
    parts = [d.topk(k + 1, largest=False).values[:, -1] for d in _squared_distances(points, points)]
    return torch.cat(parts)


def _inside(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    """Share of points within a centre's radius."""
    parts = [(d <= radii).any(1) for d in _squared_distances(points, centres)]
    return torch.cat(parts).double().mean().item()
