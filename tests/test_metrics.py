"""Distances between feature sets against answers that are known beforehand."""

import math

import numpy as np
import pytest
import torch

from sagan_core.metrics import (
    closer_share,
    density_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    nearest,
    precision_recall,
)
from sagan_core.quality import class_distances


def normal(count, size=4, seed=0, mean=0.0, scale=1.0):
    rng = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(count, size, generator=rng, dtype=torch.float64)


def whitened(count, size, seed=0):
    """Points with mean exactly 0 and covariance exactly the identity."""
    points = normal(count, size, seed)
    points = points - points.mean(0)
    orthonormal = torch.linalg.qr(points).Q
    return orthonormal * math.sqrt(count - 1)


# ---- Fréchet distance


def test_gaussians_in_closed_form():
    # Commuting covariances: |m|^2 + sum of (s_i - t_i)^2 over standard deviations.
    white, others = whitened(500, 4), whitened(700, 4, seed=1)
    deviations = torch.tensor([[1.0, 2.0, 0.5, 3.0], [2.0, 1.0, 0.5, 0.1]], dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    found = frechet_distance(white * deviations[0], others * deviations[1] + mean)
    expected = mean.square().sum() + (deviations[0] - deviations[1]).square().sum()
    assert found == pytest.approx(expected.item(), rel=1e-9)


def test_covariances_that_do_not_commute_against_the_matrix_root():
    factors = normal(4, 4, seed=2), normal(4, 4, seed=3)
    sets = [whitened(300, 4, seed=i) @ factor for i, factor in enumerate(factors)]
    a, b = (factor.T @ factor for factor in factors)
    root = torch.linalg.eigvals(a @ b).real.sqrt().sum()
    expected = a.trace() + b.trace() - 2 * root
    assert frechet_distance(*sets) == pytest.approx(expected.item(), rel=1e-8)


def test_with_fewer_images_than_features_the_closed_form_still_holds():
    # Both covariances have rank one: (|u| - |v|)^2 where the directions agree, else |u|^2 + |v|^2.
    u = torch.zeros(2, 50, dtype=torch.float64)
    u[0, 0], u[1, 0] = 3 / math.sqrt(2), -3 / math.sqrt(2)  # variance 9 along the first axis
    v = torch.roll(u, 1, dims=1)
    assert frechet_distance(u, 2 * u) == pytest.approx(9)
    assert frechet_distance(u, v) == pytest.approx(18)


def test_arrays_and_tensors_are_alike_and_order_does_not_matter():
    first, second = normal(60), normal(50, seed=1, mean=0.3)
    value = frechet_distance(first, second)
    assert frechet_distance(first.numpy(), second.numpy()) == value
    assert frechet_distance(second, first) == pytest.approx(value)
    assert frechet_distance(first[torch.randperm(60)], second) == pytest.approx(value)


# ---- kernel distance


def test_kernel_distance_is_the_double_sum_of_its_definition():
    first, second = normal(7, 3), normal(5, 3, seed=1)

    def kernel(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    def among(points):
        pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j]
        return mean(kernel(points[i], points[j]) for i, j in pairs)

    across = mean(kernel(x, y) for x in first for y in second)
    expected = among(first) + among(second) - 2 * across
    assert kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_has_no_bias_for_small_sets():
    values = [kernel_distance(normal(10, seed=s), normal(10, seed=s + 500)) for s in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values))
    # The Fréchet distance of the same sets, which is 0 in the limit, is far from it.
    assert frechet_distance(normal(10), normal(10, seed=500)) > 0.5


# ---- precision, recall, density, coverage


def test_manifolds_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])  # to the nearest other: 1, 1, 1, 8
    samples = torch.tensor([[1.5], [2.5], [20.0], [30.0]])  # 1, 1, 10, 10
    assert precision_recall(real, samples, k=1) == (2 / 4, 3 / 4)
    # 1.5 is in the balls of 1 and 2; 2.5 in those of 2 and 10, whose edge is not in it.
    assert density_coverage(real, samples, k=1) == (4 / 4, 3 / 4)


def test_equal_distributions_have_density_1_and_the_expected_coverage():
    sets = [normal(1000, 8, seed=s) for s in (1, 2)]
    density, coverage = density_coverage(*sets, k=5)
    # Naeem et al., lemma 2: 1 - (N-1)...(N-k) / ((2N-1)...(2N-k)).
    expected = 1 - math.prod((1000 - i) / (2000 - i) for i in range(1, 6))
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(expected, abs=0.02)


def test_lost_modes_cost_recall_and_added_noise_costs_precision():
    modes = torch.arange(400) % 4
    centres = 10 * torch.eye(4, dtype=torch.float64)
    real = centres[modes] + normal(400, seed=1)
    fewer = centres[modes % 2] + normal(400, seed=2)
    precision, recall = precision_recall(real, fewer)
    assert precision > 0.8
    assert recall < 0.6
    assert density_coverage(real, fewer)[1] < 0.6
    precision, recall = precision_recall(real, centres[modes] + normal(400, seed=3, scale=3))
    assert precision < 0.6


# ---- the same order in every distance


def planted(count, seed):
    """Stripes whose place is the class, with noise: (N, 64) and (N,)."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = 0.3 * torch.randn(count, 8, 8, generator=rng)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 1
    return images, labels


def blurred(images):
    return torch.nn.functional.avg_pool2d(images[:, None], 3, 1, 1)[:, 0]


def test_a_set_against_itself_and_against_worse_copies_in_the_right_order():
    real, other = (planted(400, seed)[0] for seed in (0, 1))
    shifted = [other + shift for shift in (0.1, 0.3, 0.6)]
    softer = [blurred(other), blurred(blurred(other))]
    for distance in (frechet_distance, kernel_distance):
        for worse in (shifted, softer):
            sets = [real, other, *worse]
            values = [distance(real.flatten(1), images.flatten(1)) for images in sets]
            assert values == sorted(values), distance.__name__
            assert values[1] < 0.7 * values[2], distance.__name__
    assert frechet_distance(real.flatten(1), real.flatten(1)) == pytest.approx(0, abs=1e-9)


def test_a_set_against_itself_fills_its_own_manifold():
    real, other = (planted(400, seed)[0].flatten(1) for seed in (0, 1))
    assert precision_recall(real, real) == (1, 1)
    assert density_coverage(real, real) == (pytest.approx(1, abs=1e-3), 1)
    assert min(precision_recall(real, other)) > 0.6
    assert max(precision_recall(real, other + 0.6)) < 0.2


def test_shuffled_classes_show_within_classes_alone():
    (real, labels), (other, _) = planted(400, seed=0), planted(400, seed=1)
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))].numpy()
    reference, features, labels = real.flatten(1), other.flatten(1), labels.numpy()
    right = class_distances(reference, labels, features, labels, 4)
    wrong = class_distances(reference, labels, features, shuffled, 4)
    assert right.shape == (4,)
    assert wrong.min() > 1.5 * right.max()
    lonely = np.where(labels == 2, 3, labels)
    lonely[2] = 2
    found = class_distances(reference, labels, features, lonely, 4)
    assert np.isnan(found).tolist() == [False, False, True, False]


# ---- Inception score


def test_inception_score_of_certain_and_of_ignorant_logits():
    certain = 1000 * torch.eye(5).repeat(20, 1)
    assert inception_score(certain, splits=1) == (pytest.approx(5), 0)
    assert inception_score(torch.zeros(100, 5), splits=10) == (pytest.approx(1), pytest.approx(0))
    # Half certain of two classes: exp(mean KL) with p(y) = (1/2, 1/2) is 2.
    assert inception_score(certain[certain[:, :2].any(1)], splits=1)[0] == pytest.approx(2)


# ---- nearest neighbours


def test_nearest_in_parts_is_the_sorted_list_of_all_distances():
    queries, keys = normal(6, 3), normal(50, 3, seed=1)
    distances, indices = nearest(queries.float(), keys.float().split(7), k=4)
    all_distances = (queries[:, None] - keys).norm(dim=2)
    expected, order = all_distances.sort(1)
    assert torch.equal(indices, order[:, :4])
    torch.testing.assert_close(distances, expected[:, :4], rtol=1e-5, atol=1e-6)


def test_a_copy_is_at_distance_zero_even_far_from_the_origin():
    keys = (1000 + normal(40, 3)).float()
    distances, indices = nearest(keys[[5, 9]], [keys[:20], keys[20:]], k=2)
    assert distances[:, 0].tolist() == [0, 0]
    assert indices[:, 0].tolist() == [5, 9]


def test_too_few_keys_are_an_error():
    with pytest.raises(ValueError, match="3 nearest of 2 keys"):
        nearest(normal(4), [normal(2)], k=3)


def test_closer_share_counts_pairs_and_halves_ties():
    # 1 < 2, 1 < 3; 2 = 2, 2 < 3; 4 is below none: 3.5 of 6 pairs.
    assert closer_share(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 2.0])) == pytest.approx(
        3.5 / 6
    )
    same = normal(50)[:, 0]
    assert closer_share(same, same) == 0.5


# ---- bad input


@pytest.mark.parametrize(
    ("real", "samples", "message"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 4), r"\(5, 3\) and \(5, 4\)"),
        (torch.zeros(5), torch.zeros(5), "are needed"),
        (torch.zeros(6, 3), torch.full((6, 3), math.nan), "not finite"),
        (torch.zeros(1, 3), torch.zeros(5, 3), "rows of each are needed at least"),
    ],
)
def test_features_that_do_not_fit_are_named(real, samples, message):
    for measure in (frechet_distance, kernel_distance, precision_recall, density_coverage):
        with pytest.raises(ValueError, match=message):
            measure(real, samples)


def test_the_inception_score_wants_a_row_for_every_part():
    with pytest.raises(ValueError, match="N >= 10"):
        inception_score(torch.zeros(9, 5))
