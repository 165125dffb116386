"""Small perceptrons, many of them trained together by full-batch descent.

In NumPy with the gradient written out: on networks this small torch spends ten times as long on its graph as on the
arithmetic.
"""

from itertools import pairwise

import numpy as np

HIDDEN = 16  # units in each of two layers, as in the public code of Rietz et al. 2025


class Perceptrons:
    """Perceptrons `F → 16 → 16 → 1` with ReLU, one for each index of a shape `(...)`.

    Args:
        shape: of the perceptrons.
        inputs: `F`.

    All parameters are views of one vector, `parameters`; those of `gradient` lie alike.
    """

    def __init__(self, shape: tuple[int, ...], inputs: int):
        sizes = (inputs, HIDDEN, HIDDEN, 1)
        # Of each part: weights and biases, layer by layer.
        self.fans = [fan_in for fan_in in sizes[:-1] for _ in range(2)]
        self.shapes = [(*shape, rows, fan_out) for fan_in, fan_out in pairwise(sizes) for rows in (fan_in, 1)]
        ends = np.cumsum([np.prod(part) for part in self.shapes]).tolist()
        self.parameters, self.gradient = np.zeros((2, ends[-1]), np.float32)
        self.parts, self.gradients = (
            [vector[start:end].reshape(part) for start, end, part in zip([0, *ends], ends, self.shapes, strict=False)]
            for vector in (self.parameters, self.gradient)
        )

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """`(..., n)` outputs of inputs `(..., n, F)`, kept for `differentiate`."""
        w1, b1, w2, b2, w3, b3 = self.parts
        self._inputs = inputs
        self._first = inputs @ w1
        self._first += b1
        np.maximum(self._first, 0, out=self._first)
        self._second = self._first @ w2
        self._second += b2
        np.maximum(self._second, 0, out=self._second)
        return (self._second @ w3 + b3)[..., 0]

    def differentiate(self, errors: np.ndarray) -> None:
        """Set `gradient` from the loss's derivative by the outputs of the last call, `(..., n)`."""
        _, _, w2, _, w3, _ = self.parts
        d3 = errors[..., None]
        d2 = (d3 * w3.swapaxes(-1, -2)) * (self._second > 0)
        d1 = (d2 @ w2.swapaxes(-1, -2)) * (self._first > 0)
        ones = np.ones((1, errors.shape[-1]), np.float32)  # a product sums faster than `sum`
        for number, (given, derivative) in enumerate(((self._inputs, d1), (self._first, d2), (self._second, d3))):
            np.matmul(given.swapaxes(-1, -2), derivative, out=self.gradients[2 * number])
            np.matmul(ones, derivative, out=self.gradients[2 * number + 1])
