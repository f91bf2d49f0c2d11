"""Methods that benchmarks compare: each turns an :class:`~vultus.evaluate.benchmark.Item` into a :class:`~vultus.evaluate.benchmark.Prediction`."""
