import { evaluateProgram } from '../../plan/price/evaluate.ts'
import type { Plan } from '../../plan/plan.ts'
import { OUTAGE_SECONDS, oracleInput, type DecisionProblem } from '../../plan/price/problem.ts'
import { goOnProgram } from '../../plan/price/rebuild.ts'
import type { Situation } from '../../plan/price/situation.ts'
import { planCost } from '../../plan/oracle/value.ts'
import { slowProgram } from '../../plan/price/program.ts'

/** When a request in flight is switched to another plan although its own could continue. */
export interface HysteresisOptions {
  /** Share of the remaining cost that another plan must save, including its rebuild. */
  readonly share?: number
  /** How long the link must have been up before a request returns to it. */
  readonly stableSeconds?: number
  /** Shortest time between two checks of one request. */
  readonly intervalSeconds?: number
}

/** Default hysteresis. */
export const DEFAULT_HYSTERESIS = { share: 0.2, stableSeconds: 3, intervalSeconds: 1 } as const

/** Tracks since when the link has been up, from heartbeats and from the caller's knowledge of its connection. */
export class LinkUptime {
  private lastSeconds = 0
  private upSinceSeconds: number | null = null

  /** A heartbeat was answered, or other data arrived. */
  alive(atSeconds: number): void {
    if (this.upSinceSeconds === null || atSeconds - this.lastSeconds > OUTAGE_SECONDS) {
      this.upSinceSeconds = atSeconds
    }
    this.lastSeconds = Math.max(this.lastSeconds, atSeconds)
  }

  /** The connection is lost: the uptime restarts with the next call of `alive`. */
  lost(): void {
    this.upSinceSeconds = null
  }

  /** Seconds since the link came up; null if it is down or never was up. */
  upSeconds(nowSeconds: number): number | null {
    if (this.upSinceSeconds === null || nowSeconds - this.lastSeconds > OUTAGE_SECONDS) return null
    return nowSeconds - this.upSinceSeconds
  }
}

/** Expected cost of the remaining tokens if the request continues with its caches. */
export function costToContinue(problem: DecisionProblem, situation: Situation, plan: Plan): number {
  const { pair, state, objective, readingTokensPerSecond } = oracleInput(problem, situation)
  const program = goOnProgram(pair, plan, state.promptTokens)
  return evaluateProgram(slowProgram(program, state.edgeSlowdown, state.cloudSlowdown), {
    pair,
    objective,
    readingTokensPerSecond,
    link: state.link,
    promptTokens: state.promptTokens,
    outputTokens: state.outputTokens,
  }).cost
}

/** Expected cost of the remaining tokens under another plan, restarted from the ids of all tokens so far. */
export function costToRestart(problem: DecisionProblem, situation: Situation, plan: Plan): number {
  return planCost(oracleInput(problem, situation), plan).cost
}
