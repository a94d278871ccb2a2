"""Tests of alpha while the population goes on."""
