import { OBSERVATION_SIZE, encodeObservation } from '../observe/observation.ts'
import { PlanWalker, ROW_FEATURE_SIZE } from '../observe/walker.ts'
import type { Plan } from '../plan/plan.ts'
import type { DecisionProblem } from '../plan/problem.ts'
import type { Policy, Situation } from '../plan/situation.ts'
import type { ActorSpec, Normaliser } from './actor.ts'
import { ActorKernel } from './kernel.ts'

/** Everything a trained policy is, as numbers. */
export interface PolicyNumbers {
  readonly spec: ActorSpec
  readonly parameters: Float32Array
  readonly normaliser: Normaliser
}

/**
 * A trained actor as a policy: observation, plan-wide choice, then layer by layer, always the likeliest
 * choice. The typed-array kernel decides; parity tests hold it to the exported graph.
 */
export class LearnedPolicy implements Policy {
  readonly name: string
  private readonly problem: DecisionProblem
  private readonly kernel: ActorKernel
  private readonly walker: PlanWalker
  private readonly observation = new Float32Array(OBSERVATION_SIZE)
  private readonly features = new Float32Array(ROW_FEATURE_SIZE)
  private readonly mask: Uint8Array

  constructor(problem: DecisionProblem, numbers: PolicyNumbers, name = 'ppo') {
    this.name = name
    this.problem = problem
    this.kernel = new ActorKernel(numbers.spec)
    this.kernel.load(numbers.parameters, numbers.normaliser)
    this.walker = new PlanWalker(problem)
    this.mask = new Uint8Array(Math.max(...numbers.spec.heads.map((head) => head.choices)))
  }

  decide(situation: Situation): Plan {
    const { walker, kernel, features, mask } = this
    encodeObservation(this.problem, situation, this.observation)
    kernel.encode(this.observation)
    walker.begin(situation)
    for (let row = 0; row < walker.rows; row++) {
      const allowed = walker.input(row, features, mask)
      walker.choose(row, allowed === 1 ? mask.indexOf(1) : kernel.greedy(row === 0 ? 0 : 1, features, mask))
    }
    return walker.plan()
  }
}
