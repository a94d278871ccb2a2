"""Trained objectives that come with the package, each as three files: no code, only data.

`NAME.safetensors` is the objective, `NAME.md` its card, and `NAME.yaml` the configuration of its
meta-training, whose agents a test starts from. `metagenrl objective card` writes such files.
"""
