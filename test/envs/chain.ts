import { VectorBase } from '../../envs/base.ts'
import { CHAIN, CLOUD, ChainModel, EARLY, EXIT, IDLE, WHOLE, decides } from './chainModel.ts'
import type { ChainParameters, ChainState } from './chainModel.ts'
import type { RandomStream } from '../../src/core/random.ts'

// Layout of one environment's state.
const WAITING = 0
const SERVICE = 1
const AT_CLOUD = 2
const BURST = 3
const TENANTS = 4
const DECISIONS = 5

const OBSERVED = 5
const DEFAULT_HORIZON_DECISIONS = 256

/**
 * `tiny/Chain-v0`: the partition problem in miniature, small enough for its true long-run optimum to be known.
 * Requests come in bursts and wait in one line before an edge that serves one at a time. Whenever the edge is
 * idle and someone waits, the head of the line is dispatched: 0 = to the edge, whole; 1 = to the edge, with an
 * early exit (faster, at a cost); 2 = to the cloud, which has a line of its own, costs money, and is slow while
 * other tenants are there. All times are exponential, so a step is exact: it ends at the next decision.
 *
 * Rewards are costs, negative: performance has latency in service and at the cloud, exits, money and refusals;
 * stability has the seconds waited. An episode has no end of its own: it is cut (truncated) after
 * `horizonDecisions`, and starts in a state drawn from all of those where something is decided, so that a
 * learner meets the rare ones too.
 */
export class VectorChain extends VectorBase {
  readonly model: ChainModel
  private readonly horizonDecisions: number

  constructor(
    count: number,
    parameters: ChainParameters = CHAIN,
    { horizonDecisions = DEFAULT_HORIZON_DECISIONS }: { horizonDecisions?: number } = {},
  ) {
    const head = { name: 'dispatch', choices: 3, usesRowFeatures: false, masked: true }
    super('tiny/Chain-v0', count, OBSERVED, 6, { heads: [head], headOf: [0], rowFeatureSize: 0 })
    this.model = new ChainModel(parameters)
    this.horizonDecisions = horizonDecisions
  }

  /** Puts environment `env` where something is to be decided. */
  place(env: number, { waiting, service, cloud, burst, tenants }: ChainState): void {
    if (!decides({ waiting, service, cloud, burst, tenants }))
      throw new RangeError(`state: expected an idle edge and someone waiting, found ${waiting} waiting`)
    this.state.set([waiting, service, cloud, burst, tenants, 0], env * this.stateSize)
    this.observe(env, this.observations, env * OBSERVED)
  }

  /** The state environment `env` decides in now. */
  where(env: number): ChainState {
    const [waiting, service, cloud, burst, tenants] = this.state.subarray(env * this.stateSize)
    return { waiting, service, cloud, burst: burst as 0 | 1, tenants: tenants as 0 | 1 }
  }

  /**
   * What a policy does in each state where something is decided [model.size], -1 elsewhere. `act` chooses (but
   * does not step) for environment 0 and returns its choice. Leaves environment 0 in the last of these states.
   */
  tableOf(act: () => number): Int32Array {
    return this.model.table((state) => {
      this.place(0, state)
      return act()
    })
  }

  override rowInput(env: number, _row: number, _featuresOut: Float32Array, maskOut: Uint8Array): number {
    const room = this.state[env * this.stateSize + AT_CLOUD] < this.model.parameters.cloudRoom
    maskOut.fill(1, 0, 3)
    maskOut[CLOUD] = room ? 1 : 0
    return room ? 3 : 2
  }

  protected override start(env: number): void {
    const { decisions } = this.model
    const { waiting, cloud, burst, tenants } = this.model.state(
      decisions[this.streams[env].integer(decisions.length)],
    )
    this.state.set([waiting, IDLE, cloud, burst, tenants, 0], env * this.stateSize)
  }

  protected override advance(env: number): void {
    const { state } = this
    const { exitCost, cloudCost, latencyCost, holdingCost } = this.model.parameters
    const at = env * this.stateSize
    const choice = this.choices[env]
    this.performance[env] = choice === EXIT ? -exitCost : choice === CLOUD ? -cloudCost : 0
    this.stability[env] = 0
    this.tauSeconds[env] = 0
    state[at + WAITING]--
    if (choice === CLOUD) state[at + AT_CLOUD]++
    else state[at + SERVICE] = choice === EXIT ? EARLY : WHOLE
    while (state[at + WAITING] === 0 || state[at + SERVICE] !== IDLE) {
      const served = state[at + AT_CLOUD] + (state[at + SERVICE] === IDLE ? 0 : 1)
      const waiting = state[at + WAITING]
      const seconds = this.event(env, this.streams[env])
      this.performance[env] -= latencyCost * served * seconds
      this.stability[env] -= holdingCost * waiting * seconds
      this.tauSeconds[env] += seconds
    }
    this.truncated[env] = ++state[at + DECISIONS] >= this.horizonDecisions ? 1 : 0
  }

  /** Lets the next event happen: the first of several exponential clocks. Returns the seconds until it did. */
  private event(env: number, stream: RandomStream): number {
    const { state } = this
    const at = env * this.stateSize
    const p = this.model.parameters
    const service = state[at + SERVICE]
    const arrival = p.arrivals[state[at + BURST]]
    const burst = p.bursts[state[at + BURST]]
    const tenants = p.tenants[state[at + TENANTS]]
    const edge = service === IDLE ? 0 : service === EARLY ? p.exit : p.edge
    const cloud = state[at + AT_CLOUD] === 0 ? 0 : p.cloud[state[at + TENANTS]]
    const total = arrival + burst + tenants + edge + cloud
    const seconds = stream.exponential(1 / total)
    let level = stream.uniform() * total
    if ((level -= arrival) < 0) {
      if (state[at + WAITING] < p.waitingRoom) state[at + WAITING]++
      else this.performance[env] -= p.refusalCost
    } else if ((level -= burst) < 0) state[at + BURST] = 1 - state[at + BURST]
    else if ((level -= tenants) < 0) state[at + TENANTS] = 1 - state[at + TENANTS]
    else if (cloud === 0 || level < edge) state[at + SERVICE] = IDLE
    else state[at + AT_CLOUD]--
    return seconds
  }

  protected override observe(env: number, out: Float32Array, offset: number): void {
    const at = env * this.stateSize
    const { waitingRoom, cloudRoom } = this.model.parameters
    const waiting = this.state[at + WAITING]
    out[offset] = waiting / waitingRoom
    out[offset + 1] = Math.log1p(waiting)
    out[offset + 2] = this.state[at + AT_CLOUD] / cloudRoom
    out[offset + 3] = this.state[at + BURST]
    out[offset + 4] = this.state[at + TENANTS]
  }
}
