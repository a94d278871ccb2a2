"""The equations of MetaGenRL as pure functions on explicit parameters (torch only)."""
