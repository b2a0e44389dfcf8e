import { InputError, show } from '../../src/core/errors.ts'

/**
 * The chain behind `tiny/Chain-v0` (envs/chain.ts), written out state by state: for the exact solver
 * (test/envs/exact.ts), and for the rules a learner is compared with. Only the parameters are shared
 * with the environment, so that a simulation of the one checks the other.
 */

/** Rates are per second and exponential; costs are in the one currency of the chain. Pairs: [calm, busy]. */
export interface ChainParameters {
  /** Most requests that wait (K), the head of the line included; one that finds the room full is refused. */
  readonly waitingRoom: number
  /** Most requests at the cloud (C), the one in service included. */
  readonly cloudRoom: number
  /** Arrivals, in a calm and in a burst (a two-state MMPP). */
  readonly arrivals: readonly [calm: number, burst: number]
  /** How often a calm ends, and how often a burst does. */
  readonly bursts: readonly [begin: number, end: number]
  /** The edge's rate for a whole answer, and for one that leaves at the early exit. */
  readonly edge: number
  readonly exit: number
  /** The cloud's rate, alone and while other tenants are there. */
  readonly cloud: readonly [alone: number, tenants: number]
  /** How often tenants come, and how often they leave. */
  readonly tenants: readonly [come: number, leave: number]
  /** Cost of a second of a request in service or at the cloud, and of one that waits at the edge. */
  readonly latencyCost: number
  readonly holdingCost: number
  /** Cost of an early exit (accuracy), of a request to the cloud (money), and of a refused request. */
  readonly exitCost: number
  readonly cloudCost: number
  readonly refusalCost: number
}

/**
 * Half the edge's rate on average and all of it in a burst: what is best for a request is not best for the line
 * behind it. `npm run bench chain` prints what is there to win.
 */
export const CHAIN: ChainParameters = {
  waitingRoom: 12,
  cloudRoom: 4,
  arrivals: [0.4, 1],
  bursts: [0.05, 0.2],
  edge: 1,
  exit: 2,
  cloud: [1.5, 0.4],
  tenants: [0.1, 0.2],
  latencyCost: 1,
  holdingCost: 1,
  exitCost: 1.2,
  cloudCost: 0.3,
  refusalCost: 20,
}

export const EDGE = 0
export const EXIT = 1
export const CLOUD = 2

/** What the edge is doing. */
export const IDLE = 0
export const WHOLE = 1
export const EARLY = 2

export interface ChainState {
  /** Requests that wait. */
  readonly waiting: number
  /** IDLE, WHOLE or EARLY. */
  readonly service: number
  /** Requests at the cloud. */
  readonly cloud: number
  readonly burst: 0 | 1
  readonly tenants: 0 | 1
}

/** A finite semi-Markov decision process in continuous time, for average cost. */
export interface FiniteChain {
  readonly size: number
  /** What can be done in state x, at once; null where time passes instead. Choices never lead round in a circle. */
  choices(state: number): readonly { action: number; cost: number; next: number }[] | null
  /** Where time passes: cost per second, and what happens at which rate. */
  costPerSecond(state: number): number
  events(state: number): readonly { perSecond: number; cost: number; next: number }[]
}

/** Every state of a chain, numbered: state(i) and index(state) are each other's inverse. */
export class ChainModel implements FiniteChain {
  readonly parameters: ChainParameters
  readonly size: number
  /** Numbers of the states in which something is decided: an idle edge and someone waiting. */
  readonly decisions: readonly number[]

  constructor(parameters: ChainParameters) {
    checkParameters(parameters)
    this.parameters = parameters
    this.size = (parameters.waitingRoom + 1) * 3 * (parameters.cloudRoom + 1) * 4
    const all = Array.from({ length: this.size }, (_, i) => i)
    this.decisions = all.filter((i) => decides(this.state(i)))
  }

  index({ waiting, service, cloud, burst, tenants }: ChainState): number {
    return (((waiting * 3 + service) * (this.parameters.cloudRoom + 1) + cloud) * 2 + burst) * 2 + tenants
  }

  state(index: number): ChainState {
    const rooms = this.parameters.cloudRoom + 1
    const [tenants, burst] = [(index & 1) as 0 | 1, ((index >> 1) & 1) as 0 | 1]
    const rest = index >> 2
    const upper = Math.floor(rest / rooms)
    return { waiting: Math.floor(upper / 3), service: upper % 3, cloud: rest % rooms, burst, tenants }
  }

  choices(index: number): { action: number; cost: number; next: number }[] | null {
    const state = this.state(index)
    if (!decides(state)) return null
    const { exitCost, cloudCost, cloudRoom } = this.parameters
    const waiting = state.waiting - 1
    const to = (change: Partial<ChainState>): number => this.index({ ...state, waiting, ...change })
    const choices = [
      { action: EDGE, cost: 0, next: to({ service: WHOLE }) },
      { action: EXIT, cost: exitCost, next: to({ service: EARLY }) },
    ]
    if (state.cloud < cloudRoom)
      choices.push({ action: CLOUD, cost: cloudCost, next: to({ cloud: state.cloud + 1 }) })
    return choices
  }

  costPerSecond(index: number): number {
    const { waiting, service, cloud } = this.state(index)
    const { latencyCost, holdingCost } = this.parameters
    return holdingCost * waiting + latencyCost * (cloud + (service === IDLE ? 0 : 1))
  }

  events(index: number): { perSecond: number; cost: number; next: number }[] {
    const state = this.state(index)
    const { parameters: p } = this
    const full = state.waiting === p.waitingRoom
    const event = (perSecond: number, change: Partial<ChainState>, cost = 0) => {
      return { perSecond, cost, next: this.index({ ...state, ...change }) }
    }
    const events = [
      event(p.arrivals[state.burst], full ? {} : { waiting: state.waiting + 1 }, full ? p.refusalCost : 0),
      event(p.bursts[state.burst], { burst: state.burst === 0 ? 1 : 0 }),
      event(p.tenants[state.tenants], { tenants: state.tenants === 0 ? 1 : 0 }),
    ]
    if (state.service !== IDLE)
      events.push(event(state.service === WHOLE ? p.edge : p.exit, { service: IDLE }))
    if (state.cloud > 0) events.push(event(p.cloud[state.tenants], { cloud: state.cloud - 1 }))
    return events
  }

  /** A stationary policy [size] from what it does in each state where something is decided (-1 elsewhere). */
  table(choose: (state: ChainState) => number): Int32Array {
    const table = new Int32Array(this.size).fill(-1)
    for (const index of this.decisions) table[index] = choose(this.state(index))
    return table
  }

  /** The cheapest plan for the head of the line, as if nobody waited behind it: per-state DP in miniature. */
  myopic(): Int32Array {
    return this.priced([0, 0, 0, 0])
  }

  /**
   * The priced planner in miniature: own cost + (p0 + p1 x waiting behind) edge seconds
   * + (p2 + p3 x at the cloud) cloud seconds; the lowest action on a tie.
   */
  priced(prices: readonly [number, number, number, number]): Int32Array {
    const p = this.parameters
    return this.table(({ waiting, cloud, tenants }) => {
      const edgePrice = p.latencyCost + prices[0] + prices[1] * (waiting - 1)
      const cloudSeconds = 1 / p.cloud[tenants]
      const costs = [
        edgePrice / p.edge,
        edgePrice / p.exit + p.exitCost,
        (p.latencyCost * (cloud + 1) + prices[2] + prices[3] * cloud) * cloudSeconds + p.cloudCost,
      ]
      return cloud < p.cloudRoom && costs[CLOUD] < Math.min(costs[EDGE], costs[EXIT])
        ? CLOUD
        : costs[EXIT] < costs[EDGE]
          ? EXIT
          : EDGE
    })
  }
}

export function decides({ waiting, service }: ChainState): boolean {
  return waiting > 0 && service === IDLE
}

/** Refuses parameters under which the chain is none, or does not forget where it started. */
function checkParameters(parameters: ChainParameters): void {
  const refuse = (name: string, expected: string, found: unknown): never => {
    throw new InputError({ where: `chain parameters: ${name}`, expected, found: show(found) })
  }
  const { waitingRoom, cloudRoom, ...rest } = parameters
  for (const [name, value] of Object.entries({ waitingRoom, cloudRoom })) {
    if (!Number.isInteger(value) || value < 1 || value > 1000) refuse(name, 'an integer in 1..1000', value)
  }
  for (const [name, value] of Object.entries(rest)) {
    const isCost = name.endsWith('Cost')
    for (const number of [value].flat()) {
      if (Number.isFinite(number) && (isCost ? number >= 0 : number > 0)) continue
      refuse(name, isCost ? 'a finite number, at least 0' : 'a finite number above 0', number)
    }
  }
}
