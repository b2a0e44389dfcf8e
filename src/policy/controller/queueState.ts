import type { QueueState } from '../observation/observer.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { RequestSnapshot } from './planControllerTypes.ts'
import { MOST_TOKENS, type LengthPredictor } from './lengths.ts'

/** Limits a number to [low, high]; NaN becomes `low`. */
export function clamp(value: number, low: number, high: number): number {
  return value >= low ? Math.min(value, high) : low
}

/**
 * Largest number of bytes, requests and seconds that is accepted, so that estimates stay finite whatever the caller
 * passes.
 */
const MOST = 1e15

/** Length of the prompt without generated tokens. */
export function requestTokens(ask: RequestSnapshot): number {
  const promptTokens = clamp(ask.promptTokens, 1, MOST_TOKENS)
  return Math.max(1, promptTokens - clamp(ask.deliveredTokens, 0, promptTokens))
}

/**
 * The part of a situation that follows from a request and its queue; all numbers are finite and in range. `replanning`:
 * the request is in flight during an outage. A request that is checked for another reason is presented as one that
 * arrives with a longer prompt, because policies are trained that way.
 */
export function queueStateOf(
  problem: DecisionProblem,
  lengths: LengthPredictor,
  ask: RequestSnapshot,
  replanning: boolean,
): QueueState {
  const { contextTokens } = problem.pair.model
  const promptTokens = Math.round(clamp(ask.promptTokens, 1, contextTokens))
  const maxNewTokens = Math.round(clamp(ask.maxNewTokens, 1, MOST))
  const delivered = Math.round(clamp(ask.deliveredTokens, 0, promptTokens))
  const whole = lengths.predict(requestTokens(ask), maxNewTokens + delivered)
  const memoryBytes = clamp(ask.memoryBytes, 0, MOST)
  return {
    replanning,
    deliveredTokens: replanning ? delivered : 0,
    promptTokens,
    predictedOutputTokens: clamp(whole.mean - delivered, 1, maxNewTokens),
    predictedOutputSd: whole.sd,
    waitedSeconds: clamp(ask.waitedSeconds, 0, MOST),
    waitingRequests: Math.round(clamp(ask.waitingRequests, 1, MOST)),
    inFlight: Math.round(clamp(ask.inFlight, 0, MOST)),
    uplinkQueuedBytes: clamp(ask.uplinkQueuedBytes, 0, MOST),
    freeMemoryBytes: clamp(ask.freeMemoryBytes, 0, MOST),
    memoryBytes,
    residentBytes: clamp(ask.residentBytes, 0, MOST),
    reservedTokens: Math.min(contextTokens, promptTokens + maxNewTokens),
  }
}
