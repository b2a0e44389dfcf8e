import { VectorBase } from '../../envs/base.ts'

/**
 * Problems so small that the best policy is known: what a learner must find exactly. Each offers
 * `best(observation)`: the best choices, one a row, in the state behind an observation.
 */

const CONTEXTS = 6
const ARMS = 5

/** Contextual bandit: the context is one-hot, one row of 5 arms, the reward a fixed table plus noise. */
export class VectorBandit extends VectorBase {
  constructor(count: number) {
    const head = { name: 'arm', choices: ARMS, usesRowFeatures: false, masked: false }
    super('tiny/Bandit-v0', count, CONTEXTS, 1, { heads: [head], headOf: [0], rowFeatureSize: 0 })
  }

  /** Mean reward; in every context the best arm leads by 0.4 or more. */
  static reward(context: number, arm: number): number {
    return ((arm + 2 * context) % ARMS) * 0.4
  }

  best(observation: ArrayLike<number>): number[] {
    const context = hotIndex(observation, 0, CONTEXTS)
    return [argMax(ARMS, (arm) => VectorBandit.reward(context, arm))]
  }

  protected override start(env: number): void {
    this.state[env] = this.streams[env].integer(CONTEXTS)
  }

  protected override advance(env: number): void {
    const noise = 0.2 * (this.streams[env].uniform() - 0.5)
    this.performance[env] = VectorBandit.reward(this.state[env], this.choices[env]) + noise
    this.terminated[env] = 1
  }

  protected override observe(env: number, out: Float32Array, offset: number): void {
    for (let i = 0; i < CONTEXTS; i++) out[offset + i] = i === this.state[env] ? 1 : 0
  }
}

const LAYERS = 4
const BUDGETS = [3, 5]
const SIDES = 2
/** What a unit earns, by context and layer. */
const EARNINGS = [
  [0.1, 0.9, 0.6, 0.3],
  [0.6, 0.15, 0.2, 0.95],
  [1.3, 0.6, 0.9, 1.1],
]

/**
 * A miniature of placing layers. Row 0 chooses a budget (at a price); each of 4 layers then chooses
 * 0, 1 or 2 units on the other side, within what is left of the budget (the mask). Units earn what
 * the context says; changing between "none" and "some" costs a crossing. The features of a row are
 * its layer, the budget left, and the side so far: a sufficient statistic of the prefix.
 */
export class VectorLayers extends VectorBase {
  constructor(count: number) {
    const heads = [
      { name: 'budget', choices: BUDGETS.length, usesRowFeatures: false, masked: false },
      { name: 'layer', choices: 3, usesRowFeatures: true, masked: true },
    ]
    super('tiny/Layers-v0', count, 3, 1, {
      heads,
      headOf: [0, 1, 1, 1, 1],
      rowFeatureSize: LAYERS + 2 + SIDES,
    })
  }

  /** Reward of a whole action in `context`; null where it overruns its budget. */
  static reward(context: number, choices: ArrayLike<number>): number | null {
    let left = BUDGETS[choices[0]]
    let side = 0
    let reward = choices[0] === 1 ? -0.9 : 0
    for (let layer = 0; layer < LAYERS; layer++) {
      const units = choices[1 + layer]
      left -= units
      if (left < 0) return null
      reward += units * EARNINGS[context][layer]
      if (units > 0 !== side > 0) reward -= 0.35
      side = units > 0 ? 1 : 0
    }
    return reward
  }

  /** All legal actions are tried: 2 x 3^4. */
  best(observation: ArrayLike<number>): number[] {
    const context = hotIndex(observation, 0, 3)
    const action = (index: number): number[] => [
      index & 1,
      ...[1, 3, 9, 27].map((power) => Math.floor(index / 2 / power) % 3),
    ]
    return action(argMax(162, (index) => VectorLayers.reward(context, action(index)) ?? -Infinity))
  }

  override rowInput(env: number, row: number, featuresOut: Float32Array, maskOut: Uint8Array): number {
    featuresOut.fill(0, 0, this.action.rowFeatureSize)
    if (row === 0) {
      maskOut.fill(1, 0, BUDGETS.length)
      return BUDGETS.length
    }
    const base = env * this.action.headOf.length
    let left = BUDGETS[this.choices[base]]
    for (let before = 1; before < row; before++) left -= this.choices[base + before]
    const side = row > 1 && this.choices[base + row - 1] > 0 ? 1 : 0
    featuresOut[row - 1] = 1
    featuresOut[LAYERS] = left / 5
    featuresOut[LAYERS + 1] = left === 1 ? 1 : 0
    featuresOut[LAYERS + 2 + side] = 1
    for (let units = 0; units < 3; units++) maskOut[units] = units <= left ? 1 : 0
    return Math.min(3, left + 1)
  }

  protected override start(env: number): void {
    this.state[env] = this.streams[env].integer(3)
  }

  protected override advance(env: number): void {
    const rows = this.action.headOf.length
    const reward = VectorLayers.reward(this.state[env], this.choices.subarray(env * rows, (env + 1) * rows))
    if (reward === null) throw new RangeError('choices: expected a plan within its budget')
    this.performance[env] = reward
    this.terminated[env] = 1
  }

  protected override observe(env: number, out: Float32Array, offset: number): void {
    for (let i = 0; i < 3; i++) out[offset + i] = i === this.state[env] ? 1 : 0
  }
}

/** MOVES[state][action] = [performance, stability, tauSeconds, next state]. */
const MOVES = [
  [
    [1, 0, 1, 0],
    [0, -0.1, 0.5, 1],
  ],
  [
    [6, -0.2, 8, 0],
    [1.2, 0, 1, 1],
  ],
] as const
const HORIZON = 32

/**
 * A two-state semi-Markov decision process without end, cut (truncated) every 32 decisions. Which
 * action is best depends on the discount rate beta per second: at 0.05 a learner that ignores tau
 * finds another policy, and so does a myopic one.
 */
export class VectorSemiMarkov extends VectorBase {
  readonly discountRate: number

  constructor(count: number, discountRate: number) {
    const head = { name: 'move', choices: 2, usesRowFeatures: false, masked: false }
    super('tiny/SemiMarkov-v0', count, 2, 2, { heads: [head], headOf: [0], rowFeatureSize: 0 })
    this.discountRate = discountRate
  }

  /** Optimal action of both states by value iteration on the sum of both rewards. */
  static solve(discountRate: number, ignoreTau = false): { policy: number[]; values: number[] } {
    let values = [0, 0]
    const q = (state: number, action: number): number => {
      const [performance, stability, tau, next] = MOVES[state][action]
      return performance + stability + Math.exp(-discountRate * (ignoreTau ? 1 : tau)) * values[next]
    }
    for (let sweep = 0; sweep < 5000; sweep++)
      values = [0, 1].map((state) => Math.max(q(state, 0), q(state, 1)))
    return { policy: [0, 1].map((state) => argMax(2, (action) => q(state, action))), values }
  }

  best(observation: ArrayLike<number>): number[] {
    return [VectorSemiMarkov.solve(this.discountRate).policy[hotIndex(observation, 0, 2)]]
  }

  protected override start(env: number): void {
    this.state[env * 2] = this.streams[env].integer(2)
    this.state[env * 2 + 1] = 0
  }

  protected override advance(env: number): void {
    const [performance, stability, tau, next] = MOVES[this.state[env * 2]][this.choices[env]]
    this.performance[env] = performance
    this.stability[env] = stability
    this.tauSeconds[env] = tau
    this.state[env * 2] = next
    this.truncated[env] = ++this.state[env * 2 + 1] >= HORIZON ? 1 : 0
  }

  protected override observe(env: number, out: Float32Array, offset: number): void {
    for (let i = 0; i < 2; i++) out[offset + i] = i === this.state[env * 2] ? 1 : 0
  }
}

function hotIndex(values: ArrayLike<number>, offset: number, length: number): number {
  return argMax(length, (i) => values[offset + i])
}

/** The lowest index of the largest score. */
function argMax(length: number, score: (index: number) => number): number {
  let best = 0
  for (let i = 1; i < length; i++) if (score(i) > score(best)) best = i
  return best
}
