"""Gymnasium environments as arrays, here or in a process of their own."""
