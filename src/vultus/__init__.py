"""vultus: ordinary photos become accurate, detailed, textured, animatable 3D faces."""

# torch before numba, always: otherwise two OpenMP runtimes are loaded and fight for the cores (docs/how-it-works.md).
import torch as _torch  # noqa: F401

__version__ = "0.1.0"
