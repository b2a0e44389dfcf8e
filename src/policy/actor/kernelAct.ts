import type { RandomStream } from '../../core/random.ts'
import { maxChoices } from '../action/vectorEnv.ts'
import type { ActionSpec, VectorEnv } from '../action/vectorEnv.ts'
import type { ActorSpec, Normaliser } from './actor.ts'
import { ActorKernel } from './kernel.ts'

/** Chooses whole actions with an actor, row by row: greedily, or by sampling. */
export class KernelPolicy {
  readonly kernel: ActorKernel
  private readonly features: Float32Array
  private readonly mask: Uint8Array

  constructor(
    snapshot: { spec: ActorSpec; parameters: Float32Array; normaliser: Normaliser },
    action: ActionSpec,
  ) {
    this.kernel = new ActorKernel(snapshot.spec)
    this.kernel.load(snapshot.parameters, snapshot.normaliser)
    this.features = new Float32Array(action.rowFeatureSize)
    this.mask = new Uint8Array(maxChoices(action))
  }

  /**
   * Chooses all rows for environment `index`, which the caller then steps. Greedy without a stream. Returns the
   * log-probability of the action under the policy, and writes the choices to `choicesOut`.
   */
  act(env: VectorEnv, index: number, stream: RandomStream | null, choicesOut?: Int32Array): number {
    const { kernel, features, mask } = this
    const { headOf } = env.action
    let logProbability = 0
    kernel.encode(env.observations, index * env.observationSize)
    env.beginAction(index)
    for (let row = 0; row < headOf.length; row++) {
      const allowed = env.rowInput(index, row, features, mask)
      let choice = 0
      if (allowed === 1) while (mask[choice] === 0) choice++
      else {
        choice =
          stream === null
            ? kernel.greedy(headOf[row], features, mask)
            : kernel.sample(headOf[row], features, mask, stream.uniform())
        logProbability += kernel.logProbability
      }
      env.choose(index, row, choice)
      if (choicesOut !== undefined) choicesOut[row] = choice
    }
    return logProbability
  }
}
