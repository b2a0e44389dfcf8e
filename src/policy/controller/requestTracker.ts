import { expectedWork, type Work } from '../observation/work.ts'
import { compileProgram } from '../../plan/price/compile.ts'
import { changedLoss } from '../../plan/price/loss.ts'
import type { DevicePair } from '../../plan/price/pair.ts'
import type { Plan } from '../../plan/plan.ts'
import { RESOURCE, stageSeconds, type Program, type StageList } from '../../plan/price/program.ts'

/** One pass on the edge's engine, or a part of it: `rows` tokens after `position` cached tokens. */
export interface EdgePass {
  readonly position: number
  readonly rows: number
  /** Measured engine time. */
  readonly seconds: number
}

/** A request in flight, as the estimators see it. */
export class RequestTracker {
  readonly plan: Plan
  readonly program: Program
  /** Prompt tokens under the current plan, including what was delivered before it. */
  readonly promptTokens: number
  /** Prompt tokens of the request itself. */
  readonly requestTokens: number
  /** Whether it has its plan because of an outage. */
  readonly alone: boolean
  /** Whether its plan was drawn to explore: it is then not switched because another plan became better. */
  readonly explored: boolean
  /** When it was last checked whether another plan is better. */
  lookedAtSeconds: number
  edgeSeconds: number
  /** Of this plan and of those before it, in order. */
  readonly losses: readonly PlanLoss[]
  private readonly before: Work
  private generated = 0
  private pass: EdgePass | null = null

  constructor(pair: DevicePair, given: RequestTrackerOptions) {
    const { plan, promptTokens } = given
    this.plan = plan
    this.promptTokens = promptTokens
    this.requestTokens = given.requestTokens
    this.alone = given.alone
    this.explored = given.explored
    this.lookedAtSeconds = given.atSeconds
    this.before = given.had
    this.edgeSeconds = given.had.edgeSeconds
    this.program = compileProgram(pair, plan, { promptTokens, loadBytes: 0, decisionSeconds: 0 })
    const { accuracyLoss: loss } = this.program
    this.losses = [...given.hadLosses, { delivered: given.deliveredTokens, loss }]
  }

  /** Tokens delivered under the current plan, as last reported. */
  brought(tokens: number): void {
    this.generated = Math.max(this.generated, tokens)
  }

  /** Busy seconds so far: measured on the edge; for the cloud, the profiled seconds of the delivered tokens. */
  done(): Work {
    return { edgeSeconds: this.edgeSeconds, cloudSeconds: this.cloudSeconds(this.generated) }
  }

  cloudSeconds(tokens: number): number {
    const here = tokens < 1 ? 0 : expectedWork(this.program, this.promptTokens, tokens).cloudSeconds
    return this.before.cloudSeconds + here
  }

  /** Loss of an answer of `output` tokens, each plan's for the tokens that it brought. */
  accuracyLoss(output: number): number {
    const { losses } = this
    const [first] = losses
    let { loss } = first
    for (let i = 1; i < losses.length; i++) {
      const delivered = Math.min(output, losses[i].delivered - first.delivered)
      loss = changedLoss(loss, { delivered, output }, losses[i - 1].loss, losses[i].loss)
    }
    return loss
  }

  /** Adds an engine measurement; returns the previous pass if this one begins another. */
  ran(part: EdgePass): PassSpeed | null {
    const { pass } = this
    this.edgeSeconds += part.seconds
    const same = pass !== null && pass.position === part.position && pass.rows === part.rows
    this.pass = same ? { ...part, seconds: pass.seconds + part.seconds } : part
    return same ? null : this.speedOf(pass)
  }

  /** The last pass, when nothing follows. */
  ended(): PassSpeed | null {
    const { pass } = this
    this.pass = null
    return this.speedOf(pass)
  }

  /** Null for a pass that the program does not have, such as refilling caches. */
  private speedOf(pass: EdgePass | null): PassSpeed | null {
    if (pass === null) return null
    const profiledSeconds = this.profiledSeconds(pass)
    return profiledSeconds > 0 && pass.seconds > 0 ? { profiledSeconds, seconds: pass.seconds } : null
  }

  private profiledSeconds({ position, rows }: EdgePass): number {
    const { program, promptTokens } = this
    if (position === 0 && rows === promptTokens) return edgeSecondsOf(program, program.prefill, 0)
    // A pass of one token after `position` others; the context includes the token itself.
    return rows === 1 ? edgeSecondsOf(program, program.cycles[0], position + 1) : 0
  }
}

/** Options of a request tracker. */
interface RequestTrackerOptions {
  readonly plan: Plan
  readonly promptTokens: number
  readonly requestTokens: number
  readonly alone: boolean
  readonly explored: boolean
  readonly atSeconds: number
  /** Tokens of the answer before this plan, those of an earlier process included. */
  readonly deliveredTokens: number
  /** Busy seconds under earlier plans. */
  readonly had: Work
  readonly hadLosses: readonly PlanLoss[]
}

/** A plan's accuracy loss, and the tokens that were delivered before it. */
interface PlanLoss {
  readonly delivered: number
  readonly loss: number
}

/** Measured and profiled seconds of one pass. */
export interface PassSpeed {
  readonly profiledSeconds: number
  readonly seconds: number
}

function edgeSecondsOf(program: Program, { stages }: StageList, context: number): number {
  let sum = 0
  for (const stage of stages) {
    if (stage.resource === RESOURCE.edge) sum += stageSeconds(program, stage, context)
  }
  return sum
}
