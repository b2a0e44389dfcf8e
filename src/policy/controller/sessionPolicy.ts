import type { Engine, Session } from '../../core/engine/types.ts'
import { OBSERVATION_SIZE, encodeObservation } from '../observation/observation.ts'
import { PlanDecoder, ROW_FEATURE_SIZE } from '../action/planDecoder.ts'
import type { Plan } from '../../plan/plan.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Situation } from '../../plan/price/situation.ts'
import type { ActorSpec } from '../actor/actor.ts'
import { policyFeeds } from '../parity/feeds.ts'
import { noPlanFits } from './refusals.ts'

/** Decides by running policy.onnx once for each row; greedy. */
export class SessionPolicy {
  private readonly problem: DecisionProblem
  private readonly spec: ActorSpec
  private readonly session: Session
  private busy: Promise<unknown> = Promise.resolve()

  private constructor(problem: DecisionProblem, spec: ActorSpec, session: Session) {
    this.problem = problem
    this.spec = spec
    this.session = session
  }

  static async open(
    problem: DecisionProblem,
    spec: ActorSpec,
    model: Uint8Array,
    engine: Engine,
  ): Promise<SessionPolicy> {
    return new SessionPolicy(problem, spec, await engine.create(model))
  }

  /** One decision at a time; calls in the meantime wait for their turn. */
  decide(situation: Situation): Promise<Plan> {
    const next = this.busy.then(() => this.decodePlan(situation))
    this.busy = next.catch(() => undefined)
    return next
  }

  async close(): Promise<void> {
    await this.busy
    await this.session.dispose()
  }

  private async decodePlan(situation: Situation): Promise<Plan> {
    const { problem, spec, session } = this
    const decoder = new PlanDecoder(problem)
    const rows = {
      observations: new Float32Array(OBSERVATION_SIZE),
      features: new Float32Array(ROW_FEATURE_SIZE),
      // Heads that do not belong to a row are given masks that allow all their choices.
      masks: spec.heads.map((head) => new Uint8Array(head.choices).fill(1)),
      uniforms: new Float32Array(1),
    }
    encodeObservation(problem, situation, rows.observations)
    decoder.begin(situation)
    for (let row = 0; row < decoder.rows; row++) {
      const head = row === 0 ? 0 : 1
      const mask = rows.masks[head]
      const allowed = decoder.input(row, rows.features, mask)
      if (allowed === 0) throw noPlanFits(problem, situation)
      if (allowed === 1) {
        decoder.choose(row, mask.indexOf(1))
        continue
      }
      const wanted = `greedy.${spec.heads[head].name}`
      const answer = await session.run(policyFeeds(spec, rows, 0, 1), { fetches: [wanted] })
      decoder.choose(row, Number(answer[wanted].data[0]))
    }
    return decoder.plan()
  }
}
