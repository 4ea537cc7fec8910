"""What an export is made of; ``loki_storage.export_manager.ExportManager`` is where to begin."""

__all__: list[str] = []
