"""What each kind of run needs to know: frozen dataclasses, presets, YAML."""
