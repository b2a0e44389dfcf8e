import type { Objective } from '../src/plan/price/objective.ts'
import { CostAccrual } from '../src/sim/accrual.ts'
import type { Episode } from '../src/sim/episode.ts'
import type { EdgePower } from '../src/plan/price/pair.ts'

/** The three forms of the reward, docs/model.md (49) to (51). */
export type RewardForm = 'paper' | 'dpp' | 'shaped'

/** Coefficients of the rewards. */
export interface RewardTerms {
  readonly form: RewardForm
  /** Weight V of the penalty, for dpp. */
  readonly v: number
  /** Cost per second of one waiting request, for shaped. */
  readonly holding: number
  /** Discount rate beta (1/s) of the shaping; must equal the stability critic's. */
  readonly discountRate: number
  /** Size of one unit of each normalised queue. */
  readonly scales: { readonly requests: number; readonly uplinkBytes: number; readonly cloudSeconds: number }
}

/** Normalised queues: physical ones, then virtual ones. */
interface Queues {
  readonly physical: readonly number[]
  readonly virtual: readonly number[]
}

/** Reward of one step. */
interface Reward {
  readonly performance: number
  readonly stability: number
  readonly tauSeconds: number
}

/**
 * Rewards between decisions, accrued continuously. performance is minus the accrued cost; stability depends on the
 * queues and the form:
 * - paper: -V(Q) D with D = L' - L and V(Q) = 0.1 + 9.9 e^(-Q/50) (Splitwise, arXiv 2512.23310)
 * - dpp: -D, with V on the penalty (Neely 2010). Its first-order part, sum Q (Q' - Q), would pay for bursts: a queue that
 *   goes 0, q, 0 would earn q^2
 * - shaped: -holding + e^(-beta tau) Phi(s') - Phi(s), Phi = -L (potential shaping, 0 at the end)
 */
export class RewardMeter {
  readonly accrual: CostAccrual
  private readonly terms: RewardTerms
  private readonly episode: Episode
  private cost = 0
  private waiting = 0
  private at = 0
  private queues: Queues

  constructor(terms: RewardTerms, episode: Episode, objective: Objective, power: EdgePower) {
    this.terms = terms
    this.episode = episode
    this.accrual = new CostAccrual(objective, power)
    this.queues = this.readQueues()
  }

  /** The reward accrued since the last call (or the start). `ended`: the episode is over and its potential is 0. */
  read(ended: boolean): Reward {
    const { simulation } = this.episode
    const tauSeconds = simulation.now - this.at
    const cost = this.accrual.cost(simulation.totals, simulation.now)
    const waiting = simulation.totals.waitingSeconds
    const queues = this.readQueues()
    const penalty = cost - this.cost
    const stability = this.stability(queues, tauSeconds, waiting - this.waiting, ended)
    this.cost = cost
    this.waiting = waiting
    this.at = simulation.now
    this.queues = queues
    return {
      performance: this.terms.form === 'dpp' ? -this.terms.v * penalty : -penalty,
      stability,
      tauSeconds,
    }
  }

  private stability(next: Queues, tauSeconds: number, waitingSeconds: number, ended: boolean): number {
    const { form, holding, discountRate } = this.terms
    const before = lyapunov(this.queues)
    if (form === 'shaped') {
      const after = ended ? 0 : lyapunov(next)
      return -holding * waitingSeconds - (Math.exp(-discountRate * tauSeconds) * after - before)
    }
    const drift = lyapunov(next) - before
    return form === 'paper' ? -paperWeight(this.episode.simulation.waiting()) * drift : -drift
  }

  private readQueues(): Queues {
    const { simulation, observer } = this.episode
    const { scales } = this.terms
    const { energy, accuracy, money } = observer.virtualQueues()
    return {
      physical: [
        simulation.waiting() / scales.requests,
        simulation.uplinkQueuedBytes() / scales.uplinkBytes,
        simulation.cloudQueuedSeconds() / scales.cloudSeconds,
      ],
      virtual: [energy, accuracy, money],
    }
  }
}

/** V(Q) of Splitwise's public code, for Q waiting requests. */
export function paperWeight(waitingRequests: number): number {
  return 0.1 + 9.9 * Math.exp(-waitingRequests / 50)
}

/** L = (sum Q^2 + sum Z^2) / 2. */
function lyapunov(queues: Queues): number {
  let sum = 0
  for (const q of queues.physical) sum += q * q
  for (const z of queues.virtual) sum += z * z
  return sum / 2
}
