import { SingleEnv } from '../../envs/api.ts'
import { VectorBase } from '../../envs/base.ts'
import { Box } from '../../envs/spaces.ts'

// Constants and equations of Gymnasium's CartPole-v1 (gymnasium/envs/classic_control/cartpole.py), after
// Barto, Sutton & Anderson (1983), with Florian's correction of the dynamics and the Euler integrator.
const GRAVITY = 9.8
const POLE_MASS = 0.1
const TOTAL_MASS = 1.0 + POLE_MASS
const HALF_LENGTH = 0.5
const POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
const FORCE = 10
const STEP_SECONDS = 0.02
const ANGLE_LIMIT = (12 * 2 * Math.PI) / 360
const POSITION_LIMIT = 2.4
const STEP_LIMIT = 500

// Layout of one environment's state.
const X = 0
const X_DOT = 1
const THETA = 2
const THETA_DOT = 3
const STEPS = 4

/** CartPole-v1, N at a time: 4 observations, 2 choices (push left, push right), reward 1 a step. */
export class VectorCartPole extends VectorBase {
  constructor(count: number) {
    const head = { name: 'push', choices: 2, usesRowFeatures: false, masked: false }
    super('CartPole-v1', count, 4, 5, { heads: [head], headOf: [0], rowFeatureSize: 0 })
  }

  /** Puts environment `env` into the state (x, xDot, theta, thetaDot): for known-answer tests. */
  place(env: number, state: readonly [number, number, number, number]): void {
    this.state.set(state, env * this.stateSize)
    this.state[env * this.stateSize + STEPS] = 0
    this.observe(env, this.observations, env * 4)
  }

  protected override start(env: number): void {
    const base = env * this.stateSize
    const stream = this.streams[env]
    for (let i = X; i <= THETA_DOT; i++) this.state[base + i] = -0.05 + 0.1 * stream.uniform()
    this.state[base + STEPS] = 0
  }

  protected override advance(env: number): void {
    const { state } = this
    const base = env * this.stateSize
    const theta = state[base + THETA]
    const thetaDot = state[base + THETA_DOT]
    const force = this.choices[env] === 1 ? FORCE : -FORCE
    const cos = Math.cos(theta)
    const sin = Math.sin(theta)
    const push = (force + POLE_MASS_LENGTH * thetaDot * thetaDot * sin) / TOTAL_MASS
    const thetaAcc =
      (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - (POLE_MASS * cos * cos) / TOTAL_MASS))
    const xAcc = push - (POLE_MASS_LENGTH * thetaAcc * cos) / TOTAL_MASS
    state[base + X] += STEP_SECONDS * state[base + X_DOT]
    state[base + X_DOT] += STEP_SECONDS * xAcc
    state[base + THETA] = theta + STEP_SECONDS * thetaDot
    state[base + THETA_DOT] = thetaDot + STEP_SECONDS * thetaAcc
    const steps = ++state[base + STEPS]
    const fallen = Math.abs(state[base + X]) > POSITION_LIMIT || Math.abs(state[base + THETA]) > ANGLE_LIMIT
    this.performance[env] = 1
    this.terminated[env] = fallen ? 1 : 0
    this.truncated[env] = steps >= STEP_LIMIT ? 1 : 0
  }

  protected override observe(env: number, out: Float32Array, offset: number): void {
    const base = env * this.stateSize
    for (let i = X; i <= THETA_DOT; i++) out[offset + i] = this.state[base + i]
  }
}

/** CartPole-v1 as one environment, with Gymnasium's observation bounds. */
export function cartPole(): SingleEnv {
  const bounds = [POSITION_LIMIT * 2, Infinity, ANGLE_LIMIT * 2, Infinity]
  return new SingleEnv(
    new VectorCartPole(1),
    new Box(
      bounds.map((bound) => -bound),
      bounds,
    ),
  )
}
