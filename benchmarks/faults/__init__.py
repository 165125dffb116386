"""Reliability, measured: each script is one claim of docs/reliability.md."""
