"""The names of a run's files and folders, all in one place.

config.yaml             complete configuration, reproduces the run
run.json                identity, versions, machine
metrics.jsonl           rows of a meta-training run
evaluations.jsonl       evaluations of a meta-test or baseline
objective.json          what trained the agents of a meta-test or baseline
objective.safetensors   a copy of the objective that they were trained by
checkpoints/            everything, by round
left/                   states of agents that left when the population shrank
held_out/               agents that tested versions of alpha during meta-training
seeds/                  one agent's files each, of a meta-test or baseline
policies/               policies of a meta-learner that a meta-test has copied
control.json            where the run can be reached while it goes on
curves.png              the picture
"""

CONFIG_FILE = "config.yaml"
"""A folder that holds this file is a run."""
IDENTITY_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
EVALUATIONS_FILE = "evaluations.jsonl"
FACTS_FILE = "objective.json"
COPY_FILE = "objective.safetensors"
CHECKPOINTS = "checkpoints"
LEFT_FOLDER = "left"
HELD_OUT_FOLDER = "held_out"
SEEDS_FOLDER = "seeds"
POLICIES_FOLDER = "policies"
CONTROL_FILE = "control.json"
CURVES_FILE = "curves.png"
RUN_FILES = frozenset({
    IDENTITY_FILE, METRICS_FILE, EVALUATIONS_FILE, FACTS_FILE, COPY_FILE, CHECKPOINTS, LEFT_FOLDER,
    HELD_OUT_FOLDER, SEEDS_FOLDER, POLICIES_FOLDER, CONTROL_FILE, "objectives", "server",
})  # fmt: skip
"""What a new run must not find in its folder: it would write over it."""
