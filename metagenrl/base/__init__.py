"""What every process may import: checks, messages, processes, retrying. No torch at import."""
