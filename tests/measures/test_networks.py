"""What random graphs of a few units cannot show of measures of networks: large ones, known ones."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from rewire.measures.lcp_correlation import communities_of_links
from rewire.measures.shared.spectra import leading, normalised


def random_matrix(rows: int, columns: int, density: float) -> sp.csr_array:
    rng = np.random.default_rng(0)
    return sp.csr_array((rng.random((rows, columns)) < density) * rng.standard_normal(columns))


def test_leading_singular_values_of_large_matrices_are_those_of_lapack() -> None:
    for matrix in (
        random_matrix(300, 400, 0.05),
        random_matrix(400, 260, 0.004),  # many components
        sp.block_diag([random_matrix(250, 250, 0.1)] * 2, format="csr"),  # each value twice
        normalised(abs(sp.block_diag([random_matrix(250, 250, 0.1)] * 3, format="csr"))),
    ):
        expected = np.linalg.svd(matrix.toarray(), compute_uv=False)[:4]
        np.testing.assert_allclose(leading(sp.csr_array(matrix), 4), expected, rtol=1e-9)
        assert np.array_equal(leading(sp.csr_array(matrix), 4), leading(sp.csr_array(matrix), 4))


def test_local_communities_are_equal_by_dense_and_by_sparse_products() -> None:
    dense = sp.csr_array((random_matrix(60, 80, 0.3) != 0).astype(float))
    wide = sp.csr_array(sp.block_array([[dense, None], [None, sp.csr_array((3000, 9000))]]))
    for of_dense, of_sparse in zip(
        communities_of_links(dense), communities_of_links(wide), strict=True
    ):
        assert of_dense.max() > 2
        assert np.array_equal(of_dense, of_sparse)
