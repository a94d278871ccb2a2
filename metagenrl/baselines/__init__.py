"""Algorithms that MetaGenRL is compared with."""
