"""How much is tried. Settings are passed to each test: the host's own profile stays as it is."""

import os

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

    def settings(self, share: float = 1.0) -> settings:
        """Hypothesis' settings for a check that needs this share of the examples."""
        return settings(
            max_examples=max(1, round(self.examples * share)),
            derandomize=self.repeatable,
            database=None if self.repeatable else settings().database,
            stateful_step_count=self.steps,
            deadline=None,  # shared machines would fail tests
            print_blob=not self.repeatable,
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
        Profile("smoke", 10, 30),
        Profile("ci", 80, 50),
        Profile("prove", 60, 50, shrink=False),
        Profile("nightly", 2000, 100, repeatable=False),
    )
}


def chosen() -> Profile:
    """The profile that the environment names (``LOKI_CONTRACT_PROFILE``), else ``ci``."""
    return PROFILES[os.environ.get("LOKI_CONTRACT_PROFILE", "ci")]
