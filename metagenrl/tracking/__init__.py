"""Rows to W&B, TensorBoard and Prometheus, in processes of their own."""
