"""What a backup is made of; ``loki_storage.backup_manager.BackupManager`` is where to begin."""

__all__: list[str] = []
