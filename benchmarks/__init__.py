"""What the updates cost, beside a plain PyTorch reference and the GEMM limit: `make bench`."""
