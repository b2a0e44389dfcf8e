import { evaluateProgram } from '../../plan/price/evaluate.ts'
import type { Plan } from '../../plan/plan.ts'
import { OUTAGE_SECONDS, oracleInput, type DecisionProblem } from '../../plan/price/problem.ts'
import { goOnProgram } from '../../plan/price/rebuild.ts'
import type { Situation } from '../../plan/price/situation.ts'
import { planCost } from '../../plan/oracle/value.ts'
import { slowProgram } from '../../plan/price/program.ts'

/** When a request in flight is given another plan though its own could go on. */
export interface HysteresisOptions {
  /** Of the cost that is left, what another plan must save, its rebuild included. */
  readonly share?: number
  /** For which the link must have been up before a request goes back to it. */
  readonly stableSeconds?: number
  /** Between two looks at one request. */
  readonly intervalSeconds?: number
}

export const DEFAULT_HYSTERESIS = { share: 0.2, stableSeconds: 3, intervalSeconds: 1 } as const

/** Since when the link has been there, from heartbeats and from what the caller knows of its connection. */
export class LinkUptime {
  private lastSeconds = 0
  private upSinceSeconds: number | null = null

  /** A sign of life. */
  alive(atSeconds: number): void {
    if (this.upSinceSeconds === null || atSeconds - this.lastSeconds > OUTAGE_SECONDS) {
      this.upSinceSeconds = atSeconds
    }
    this.lastSeconds = Math.max(this.lastSeconds, atSeconds)
  }

  /** The connection is known to be gone: it begins anew with the next sign of life. */
  lost(): void {
    this.upSinceSeconds = null
  }

  /** Seconds for which the link has been up; null where it is out or has never been there. */
  upSeconds(nowSeconds: number): number | null {
    if (this.upSinceSeconds === null || nowSeconds - this.lastSeconds > OUTAGE_SECONDS) return null
    return nowSeconds - this.upSinceSeconds
  }
}

/** Expected cost of the tokens that are left where the request goes on with the caches that it has. */
export function costToContinue(problem: DecisionProblem, situation: Situation, plan: Plan): number {
  const { pair, state, objective, readingTokensPerSecond } = oracleInput(problem, situation)
  const program = goOnProgram(pair, plan, state.promptTokens)
  return evaluateProgram(slowProgram(program, state.edgeSlowdown, state.cloudSlowdown), {
    ...{ pair, objective, readingTokensPerSecond },
    ...{ link: state.link, promptTokens: state.promptTokens, outputTokens: state.outputTokens },
  }).cost
}

/** The same under another plan, begun anew from the ids of all tokens so far. */
export function costToRestart(problem: DecisionProblem, situation: Situation, plan: Plan): number {
  return planCost(oracleInput(problem, situation), plan).cost
}
