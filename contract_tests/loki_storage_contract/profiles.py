"""How much is tried. Settings are passed to each test: the host's own profile stays as it is.

``smoke`` while one writes a backend, ``ci`` as a gate, ``nightly`` and ``soak`` to search.
"""

import os
from collections.abc import Collection
from hashlib import sha256
from secrets import randbits
from typing import Self

import attrs
from hypothesis import HealthCheck, Phase, settings

__all__ = ["PROFILES", "Profile", "chosen"]


@attrs.frozen
class Profile:
    """``examples`` per property; traces of the state machine have up to ``steps`` steps."""

    name: str
    examples: int
    steps: int
    repeatable: bool = True
    """The same examples at every run, so that a gate does not fail by chance."""
    shrink: bool = True
    """Whether a failure is made small; that costs more than to find it."""
    thorough: bool = True
    """Whether each cell that a rule must reach has to be reached, and exhaustive checks run."""
    processes: bool = True
    """Whether checks run that start processes of their own: those take seconds."""
    patience: float = 60.0
    """Seconds until an example that has not come to its end counts as hung."""
    seed: int = 0

    def seeded(self, seed: int | None = None) -> Self:
        """The profile with this seed, else its own, else a random one where it is not repeatable.

        Reports print the seed: with it the run can be repeated.
        """
        if seed is None:
            seed = self.seed if self.repeatable else randbits(32)
        return attrs.evolve(self, seed=seed)

    def seed_of(self, name: str) -> int:
        """The seed of one check: whatever runs before it, and on whichever backend."""
        return int.from_bytes(sha256(f"{self.seed}:{name}".encode()).digest()[:8])

    def includes(self, needs: Collection[str], *, exhaustive: bool) -> bool:
        """Whether it runs checks that need this."""
        quick = self.processes or "processes" not in needs
        return quick and (self.thorough or not exhaustive)

    def settings(self, share: float = 1.0) -> settings:
        """Hypothesis' settings for a check that needs this share of the examples."""
        share = share if self.thorough else min(share, 1.0)
        return settings(
            max_examples=max(1, round(self.examples * share)),
            database=None if self.repeatable else settings().database,
            stateful_step_count=self.steps,
            deadline=None,  # shared machines would fail tests
            print_blob=False,  # the seed is printed
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            phases=[phase for phase in Phase if phase not in self._left_out],
        )

    @property
    def _left_out(self) -> set[Phase]:
        return {Phase.explain} if self.shrink else {Phase.explain, Phase.shrink}


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", 10, 30, thorough=False, processes=False, patience=20),
        Profile("ci", 100, 50),
        Profile("nightly", 2000, 100, repeatable=False, patience=120),
        Profile("soak", 20_000, 200, repeatable=False, patience=240),
    )
}


def chosen() -> Profile:
    """The profile that the environment names, else ``ci``.

    ``LOKI_CONTRACT_PROFILE`` names it, ``LOKI_CONTRACT_SEED`` repeats a run of a random one.
    """
    seed = os.environ.get("LOKI_CONTRACT_SEED")
    profile = PROFILES[os.environ.get("LOKI_CONTRACT_PROFILE", "ci")]
    return profile.seeded(None if seed is None else int(seed))
