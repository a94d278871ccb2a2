"""Builds the optional C kernels; without a compiler the package falls back to plain torch."""

from setuptools import Extension, setup

KERNELS = Extension(
    "metagenrl.learner._kernels",
    sources=["learner/kernels.c"],
    depends=[
        "learner/kernels_body.h",
        "learner/kernels_agent.h",
        "learner/kernels_update.h",
        "learner/kernels_mlp.h",
        "learner/kernels_objective.h",
        "learner/kernels_replay.h",
        "learner/kernels_rows.h",
        "learner/kernels_bf16.h",
        "learner/kernels_amx.h",
        "learner/kernels_amx_pack.h",
        "learner/kernels_amx_rows.h",
    ],
    extra_compile_args=[
        "-O3",
        "-std=gnu11",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-signed-zeros",
        "-fassociative-math",
        "-ffp-contract=fast",
        "-Wno-psabi",
    ],
    libraries=["m"],
    optional=True,
)

setup(ext_modules=[KERNELS])
