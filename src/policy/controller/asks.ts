import type { Circumstances } from '../observation/observer.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Ask } from './governorTypes.ts'
import { MOST_TOKENS, type LengthPredictor } from './lengths.ts'

/** A number in [low, high]; what is none of either kind is `low`. */
export function within(value: number, low: number, high: number): number {
  return value >= low ? Math.min(value, high) : low
}

/** The most bytes, requests and seconds that are believed: estimates stay finite whatever a caller says. */
const MOST = 1e15

/** Prompt without what was generated. */
export function requestTokens(ask: Ask): number {
  const promptTokens = within(ask.promptTokens, 1, MOST_TOKENS)
  return Math.max(1, promptTokens - within(ask.deliveredTokens, 0, promptTokens))
}

/**
 * What a request and its queue say of a situation; all numbers finite and in range. `replanning`: caught by an
 * outage. A request that is looked at for another reason is posed as one that arrives with a longer prompt, which is
 * how policies are trained.
 */
export function circumstancesOf(
  problem: DecisionProblem,
  lengths: LengthPredictor,
  ask: Ask,
  replanning: boolean,
): Circumstances {
  const { contextTokens } = problem.pair.model
  const promptTokens = Math.round(within(ask.promptTokens, 1, contextTokens))
  const maxNewTokens = Math.round(within(ask.maxNewTokens, 1, MOST))
  const delivered = Math.round(within(ask.deliveredTokens, 0, promptTokens))
  const whole = lengths.predict(requestTokens(ask), maxNewTokens + delivered)
  const memoryBytes = within(ask.memoryBytes, 0, MOST)
  return {
    replanning,
    deliveredTokens: replanning ? delivered : 0,
    promptTokens,
    predictedOutputTokens: within(whole.mean - delivered, 1, maxNewTokens),
    predictedOutputSd: whole.sd,
    waitedSeconds: within(ask.waitedSeconds, 0, MOST),
    waitingRequests: Math.round(within(ask.waitingRequests, 1, MOST)),
    inFlight: Math.round(within(ask.inFlight, 0, MOST)),
    uplinkQueuedBytes: within(ask.uplinkQueuedBytes, 0, MOST),
    freeMemoryBytes: within(ask.freeMemoryBytes, 0, MOST),
    memoryBytes,
    residentBytes: within(ask.residentBytes, 0, MOST),
    reservedTokens: Math.min(contextTokens, promptTokens + maxNewTokens),
  }
}
