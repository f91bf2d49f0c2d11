"""Our Adam against torch's, and what it is for: not importing torch's compiler."""

import subprocess
import sys

import torch

from vultus.fit.adam import Adam


def energy(a, b):
    return ((a - torch.arange(5.0)) ** 2).sum() * (1 + b.sin().sum() ** 2) + (b**4).sum()


def test_every_step_is_torchs():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(5, generator=generator), torch.randn(3, generator=generator)]
    ours, theirs = ([value.clone().requires_grad_() for value in start] for _ in range(2))
    adam, oracle = Adam(ours, 0.05), torch.optim.Adam(theirs, lr=0.05)
    for _ in range(30):
        adam.step(energy(*ours))
        oracle.zero_grad()
        energy(*theirs).backward()
        oracle.step()
        for found, expected in zip(ours, theirs):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert energy(*ours).item() < 0.8 * energy(*start).item()


def test_it_does_not_import_torchs_compiler():
    code = (
        "import sys, torch, vultus.fit.refine; from vultus.fit.adam import Adam\n"
        "x = torch.ones(2, requires_grad=True); Adam([x], 0.1).step((x**2).sum())\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
