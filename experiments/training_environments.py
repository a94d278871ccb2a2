"""Randomised environments that the shipped objectives were meta-trained and selected on.

    PYTHONPATH=experiments metagenrl train --envs training_environments:RandCreature-v3 ...

The number is the seed of the environment: version 3 is always the same one. Creature: planar
walkers of random shape, even versions end where the torso falls (+1 a step alive), odd ones never
do. Point: damped point masses and a goal in 1 to 6 dimensions. Pendulum, DoublePendulum, Swimmer,
Ant: Gymnasium's with other physics and reward scales.
"""
# ruff: noqa: E501 - MuJoCo's XML

import logging

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.inverted_double_pendulum_v5 import InvertedDoublePendulumEnv
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv

gymnasium.logger.min_level = logging.ERROR


def _xml(r):
    length = r.uniform(0.3, 1.0)
    legs = int(r.integers(1, 4))
    places = [0.0] if legs == 1 else np.linspace(-length / 2, length / 2, legs)
    bodies, motors, height = [], [], 0.0
    for i, x in enumerate(places):
        parts, n = "", int(r.integers(2, 4))
        sizes = r.uniform(0.2, 0.45, n)
        height = max(height, sizes.sum() * 0.93)
        gear = r.uniform(30, 120)
        closing = ""
        for k, size in enumerate(sizes):
            z = 0 if k == 0 else -sizes[k - 1]
            bend = 0.3 if (k + i) % 2 else -0.3
            parts += (
                f'<body name="b{i}_{k}" pos="{x if k == 0 else 0:.3f} 0 {z:.3f}" euler="0 {bend:.2f} 0">'
                f'<joint name="j{i}_{k}" type="hinge" axis="0 -1 0" range="-1.0 1.0" damping="{r.uniform(1, 4):.2f}" '
                f'armature="{r.uniform(0.05, 0.3):.2f}" stiffness="{r.uniform(0, 60):.1f}"/>'
                f'<geom type="capsule" size="0.046" fromto="0 0 0 0 0 {-size:.3f}"/>'
            )
            motors.append(
                f'<motor joint="j{i}_{k}" gear="{gear * (0.6**k):.1f}" ctrlrange="-1 1" ctrllimited="true"/>'
            )
            closing += "</body>"
        bodies.append(parts + closing)
    return (
        f"""<mujoco><compiler angle="radian" inertiafromgeom="true"/>
<option timestep="0.01" integrator="implicitfast"/>
<default><geom friction="{r.uniform(0.5, 1.2):.2f} .1 .1" density="1000" condim="3" contype="1" conaffinity="0"/><joint limited="true"/></default>
<worldbody><geom type="plane" size="100 100 1" contype="0" conaffinity="1" condim="3"/>
<body name="torso" pos="0 0 {height:.3f}"><joint name="x" type="slide" axis="1 0 0" limited="false"/>
<joint name="z" type="slide" axis="0 0 1" limited="false"/><joint name="y" type="hinge" axis="0 1 0" limited="false"/>
<geom type="capsule" size="0.05" fromto="{-length / 2 - 0.05:.3f} 0 0 {length / 2 + 0.05:.3f} 0 0"/>{"".join(bodies)}</body></worldbody>
<actuator>{"".join(motors)}</actuator></mujoco>""",
        height,
    )


class Creature(gymnasium.Env):
    """A planar walker of random shape; the reward is its speed."""

    def __init__(self, k):
        r = np.random.default_rng(1000 + k)
        xml, self.height = _xml(r)
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.falls = k % 2 == 0
        self.forward, self.cost = r.uniform(0.7, 1.5), r.choice([0.001, 0.05, 0.1])
        n = self.model.nq + self.model.nv - 1
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (n,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.model.nu,), np.float32)

    def _obs(self):
        return np.concatenate([self.data.qpos[1:], np.clip(self.data.qvel, -10, 10)])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] += self.np_random.uniform(-0.02, 0.02, self.model.nq)
        self.data.qvel[:] += self.np_random.normal(0, 0.02, self.model.nv)
        mujoco.mj_forward(self.model, self.data)
        return self._obs(), {}

    def step(self, action):
        x = self.data.qpos[0]
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 3)
        speed = (self.data.qpos[0] - x) / 0.03
        z, angle = self.data.qpos[1], self.data.qpos[2]
        fallen = bool(self.falls and (z < -0.4 * self.height or abs(angle) > 0.8))
        fallen = fallen or not np.isfinite(self.data.qacc).all() or abs(speed) > 50
        reward = (
            self.forward * float(np.clip(speed, -20, 20))
            - self.cost * float(np.square(action).sum())
            + (1.0 if self.falls else 0.0)
        )
        return self._obs(), reward, fallen, False, {}


class Point(gymnasium.Env):
    """A point that is pushed to a goal."""

    def __init__(self, k):
        r = np.random.default_rng(2000 + k)
        self.n = int(r.integers(1, 7))
        self.gain, self.damping = r.uniform(0.5, 2, self.n), r.uniform(0.05, 0.4)
        self.mix = np.linalg.qr(r.normal(size=(self.n, self.n)))[0]
        self.scale, self.cost = 10 ** r.uniform(-1, 1), r.uniform(0, 0.1)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3 * self.n,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.n,), np.float32)

    def _obs(self):
        return np.concatenate([self.p, self.v, self.goal - self.p])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.p, self.v = self.np_random.uniform(-0.1, 0.1, self.n), np.zeros(self.n)
        self.goal = self.np_random.uniform(-1, 1, self.n)
        return self._obs(), {}

    def step(self, action):
        self.v = (1 - self.damping) * self.v + 0.1 * self.mix @ (
            self.gain * np.asarray(action, np.float64)
        )
        self.p = np.clip(self.p + 0.3 * self.v, -3, 3)
        reward = -np.linalg.norm(self.p - self.goal) - self.cost * float(np.square(action).sum())
        return self._obs(), float(self.scale * reward), False, False, {}


class RandPendulum(PendulumEnv):
    """Pendulum with another gravity, mass, length and reward scale."""

    def __init__(self, k):
        r = np.random.default_rng(3000 + k)
        super().__init__(g=r.uniform(5, 14))
        self.m, self.l = r.uniform(0.6, 1.4), r.uniform(0.6, 1.3)
        self.scale = 10 ** r.uniform(-1, 1)

    def step(self, u):
        o, reward, *rest = super().step(u)
        return o, float(self.scale * reward), *rest


def _physics(env, r):
    m = env.model
    m.opt.gravity[2] *= r.uniform(0.6, 1.3)
    m.body_mass[:] *= r.uniform(0.7, 1.4, m.nbody)
    m.actuator_gear[:] *= r.uniform(0.6, 1.5)
    m.dof_damping[:] *= r.uniform(0.6, 1.6)


class RandDouble(InvertedDoublePendulumEnv):
    """InvertedDoublePendulum with other physics and another reward scale."""

    def __init__(self, k):
        r = np.random.default_rng(4000 + k)
        super().__init__()
        _physics(self, r)
        self.scale = 10 ** r.uniform(-1, 0.3)

    def step(self, a):
        o, reward, *rest = super().step(a)
        return o, float(self.scale * reward), *rest


class RandSwimmer(SwimmerEnv):
    """Swimmer with other physics."""

    def __init__(self, k):
        r = np.random.default_rng(5000 + k)
        super().__init__()
        _physics(self, r)
        self.model.opt.viscosity *= r.uniform(0.6, 1.6)


class RandAnt(AntEnv):
    """Ant with other physics."""

    def __init__(self, k):
        r = np.random.default_rng(6000 + k)
        super().__init__(include_cfrc_ext_in_observation=False, terminate_when_unhealthy=k % 2 == 0)
        _physics(self, r)


for cls, name, limit in (
    (Creature, "Creature", 300),
    (Point, "Point", 60),
    (RandPendulum, "Pendulum", 200),
    (RandDouble, "DoublePendulum", 1000),
    (RandSwimmer, "Swimmer", 300),
    (RandAnt, "Ant", 300),
):
    for k in range(120):
        gymnasium.register(
            f"Rand{name}-v{k}",
            entry_point=f"training_environments:{cls.__name__}",
            kwargs={"k": k},
            max_episode_steps=limit,
            disable_env_checker=True,
        )
