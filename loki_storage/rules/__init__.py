"""The rules: pure functions from records, arguments and the time to a ``Change``. No I/O here."""

__all__: list[str] = []
