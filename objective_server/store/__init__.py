"""Where the server keeps its state: a folder or Redis."""
