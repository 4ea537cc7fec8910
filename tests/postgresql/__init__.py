"""Real PostgreSQL servers for tests, demos and benchmarks."""
