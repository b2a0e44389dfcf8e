import type { RandomStream } from '../../core/random.ts'
import { OBSERVATION_SIZE, encodeObservation } from '../observation/observation.ts'
import { PlanDecoder, ROW_FEATURE_SIZE } from '../action/planDecoder.ts'
import type { Plan } from '../../plan/plan.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Policy, Situation } from '../../plan/price/situation.ts'
import type { ActorSpec, Normaliser } from './actor.ts'
import { ActorKernel } from './kernel.ts'

/** A trained policy as numbers. */
export interface PolicyNumbers {
  readonly spec: ActorSpec
  readonly parameters: Float32Array
  readonly normaliser: Normaliser
}

/** A plan, with what a log needs for off-policy evaluation. */
export interface Act {
  readonly plan: Plan
  /** Probability with which the plan was drawn: the product over its rows; 1 for a greedy choice. */
  readonly propensity: number
  /** The unnormalised observation [OBSERVATION_SIZE]; the caller owns the array. */
  readonly observation: Float32Array
}

/**
 * A trained actor as a policy: from the observation it chooses the plan-wide row, then layer by layer, each time the
 * most likely choice. The typed-array kernel decides; parity tests compare it with the exported graph.
 */
export class LearnedPolicy implements Policy {
  readonly name: string
  private readonly problem: DecisionProblem
  private readonly kernel: ActorKernel
  private readonly decoder: PlanDecoder
  private readonly observation = new Float32Array(OBSERVATION_SIZE)
  private readonly features = new Float32Array(ROW_FEATURE_SIZE)
  private readonly mask: Uint8Array

  constructor(problem: DecisionProblem, numbers: PolicyNumbers, name = 'ppo') {
    this.name = name
    this.problem = problem
    this.kernel = new ActorKernel(numbers.spec)
    this.kernel.load(numbers.parameters, numbers.normaliser)
    this.decoder = new PlanDecoder(problem)
    this.mask = new Uint8Array(Math.max(...numbers.spec.heads.map((head) => head.choices)))
  }

  decide(situation: Situation): Plan {
    return this.choose(situation, null).plan
  }

  /** Decides greedily, or with a stream by drawing every row from the actor's distribution. */
  act(situation: Situation, stream: RandomStream | null): Act {
    const { plan, logProbability } = this.choose(situation, stream)
    const propensity = stream === null ? 1 : Math.exp(logProbability)
    return { plan, propensity, observation: this.observation.slice() }
  }

  private choose(
    situation: Situation,
    stream: RandomStream | null,
  ): { readonly plan: Plan; readonly logProbability: number } {
    const { decoder, kernel, features, mask } = this
    encodeObservation(this.problem, situation, this.observation)
    kernel.encode(this.observation)
    decoder.begin(situation)
    let logProbability = 0
    for (let row = 0; row < decoder.rows; row++) {
      const allowed = decoder.input(row, features, mask)
      const head = row === 0 ? 0 : 1
      if (allowed === 1) decoder.choose(row, mask.indexOf(1))
      else if (stream === null) decoder.choose(row, kernel.greedy(head, features, mask))
      else {
        decoder.choose(row, kernel.sample(head, features, mask, stream.uniform()))
        logProbability += kernel.logProbability
      }
    }
    return { plan: decoder.plan(), logProbability }
  }
}
