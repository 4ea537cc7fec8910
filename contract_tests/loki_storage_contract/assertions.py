"""Assertions of the checks that explain themselves, also where pytest is not the host."""

import sys

from _pytest.assertion import install_importhook
from _pytest.assertion.rewrite import AssertionRewritingHook
from _pytest.config import get_config

__all__ = ["explain_assertions"]

_MODULES = ("books", "laws", "machine", "reads", "store", "trail")


def explain_assertions() -> None:
    """From here on, checks that are imported tell both sides of what they compare.

    Under pytest that is so already. The hook is pytest's own, and the one thing of it that has no
    public name; a test of ours fails where a later pytest moves it.
    """
    if not any(isinstance(finder, AssertionRewritingHook) for finder in sys.meta_path):
        config = get_config()
        vars(config).setdefault("inicfg", {})  # pytest 8.2 has it only once arguments are parsed
        hook = install_importhook(config)
        hook.mark_rewrite(*(f"{__package__}.{name}" for name in _MODULES))
