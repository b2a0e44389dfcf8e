import { InputError } from '../../core/errors.ts'
import { Observer } from '../observation/observer.ts'
import { pairUnits } from '../../plan/price/pair.ts'
import { EDGE, uniformPlan } from '../../plan/plan.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import { Residency } from '../../plan/price/residency.ts'
import type { Situation } from '../../plan/price/situation.ts'

/** Conditions given by a user; everything else is as on an idle device that has just connected. */
export interface Conditions {
  /** Mbit/s; 0 is an outage of that direction. */
  readonly upMbps: number
  readonly downMbps: number
  readonly rttMs: number
  readonly promptTokens: number
  /** Predicted length of the answer. */
  readonly outputTokens: number
  /** Standard deviation of that prediction, tokens; default 0. */
  readonly outputSd?: number
  /** Tokens of the longest answer, for which K/V is reserved; default: the longest that the policy was trained for. */
  readonly maxNewTokens?: number
  /** Edge memory of the device, bytes; default: that of the device that the policy was trained for. */
  readonly memoryBytes?: number
  /** Edge memory available to the plan, bytes; default: all. */
  readonly freeMemoryBytes?: number
  /** Waiting requests, including this one; default 1. */
  readonly waitingRequests?: number
  /** Requests dispatched and not finished; default 0. */
  readonly inFlight?: number
  /** Remaining work of those, profiled seconds; default 0. */
  readonly edgeBacklogSeconds?: number
  readonly cloudBacklogSeconds?: number
  /** Other tenants' sequences in the cloud, and the age of that report; default: no report. */
  readonly tenants?: number
  readonly tenantsAgeSeconds?: number
  /** Since the last answered heartbeat; default 0. Above 3 s it is an outage. */
  readonly sinceHeartbeatSeconds?: number
}

/** The device that a policy was trained for: memory in bytes, and the longest answer in tokens. */
export interface DeviceTerms {
  readonly memoryBytes: number
  readonly maxNewTokens: number
}

/**
 * The situation for given conditions, from the same estimators that a running device uses. Throws InputError naming a
 * condition that is out of range.
 */
export function situationFrom(
  problem: DecisionProblem,
  terms: DeviceTerms,
  conditions: Conditions,
): Situation {
  const { contextTokens } = problem.pair.model
  const { maxNewTokens = terms.maxNewTokens, memoryBytes = terms.memoryBytes } = conditions
  checkConditions(conditions, contextTokens, maxNewTokens)
  const { promptTokens, outputTokens, sinceHeartbeatSeconds = 0, tenantsAgeSeconds = 0 } = conditions
  const { tenants, freeMemoryBytes = memoryBytes } = conditions
  const nowSeconds = sinceHeartbeatSeconds
  const observer = new Observer(
    {
      upBitsPerSecond: conditions.upMbps * 1e6,
      downBitsPerSecond: conditions.downMbps * 1e6,
      rttSeconds: conditions.rttMs / 1e3,
    },
    problem.budgets,
  )
  if (tenants !== undefined) observer.loadReport(tenants, nowSeconds - tenantsAgeSeconds)
  const circumstances = {
    replanning: false,
    deliveredTokens: 0,
    promptTokens,
    predictedOutputTokens: outputTokens,
    predictedOutputSd: conditions.outputSd ?? 0,
    waitedSeconds: 0,
    waitingRequests: conditions.waitingRequests ?? 1,
    inFlight: conditions.inFlight ?? 0,
    uplinkQueuedBytes: 0,
    freeMemoryBytes: Math.min(freeMemoryBytes, memoryBytes),
    memoryBytes,
    residentBytes: residentBytes(problem, memoryBytes),
    reservedTokens: Math.min(contextTokens, promptTokens + maxNewTokens),
  }
  const idle = observer.situation(nowSeconds, circumstances, () => ({ edgeSeconds: 0, cloudSeconds: 0 }))
  return {
    ...idle,
    edgeBacklogSeconds: conditions.edgeBacklogSeconds ?? 0,
    cloudBacklogSeconds: conditions.cloudBacklogSeconds ?? 0,
  }
}

/** The whole model if it fits, as at the start of a session; otherwise nothing. */
function residentBytes(problem: DecisionProblem, memoryBytes: number): number {
  const { pair } = problem
  const residency = new Residency(pair)
  if (residency.wholeBytes() > memoryBytes) return 0
  residency.preload(uniformPlan(pair.model.layers, pairUnits(pair), EDGE))
  return residency.residentBytes()
}

type Range = readonly [low: number, high: number, whole: boolean]

function checkConditions(conditions: Conditions, contextTokens: number, maxNewTokens: number): void {
  const longest = Math.min(maxNewTokens, contextTokens - conditions.promptTokens)
  const ranges: Readonly<Record<keyof Conditions, Range>> = {
    promptTokens: [1, contextTokens - 1, true],
    outputTokens: [1, longest, false],
    upMbps: [0, 1e6, false],
    downMbps: [0, 1e6, false],
    rttMs: [0, 1e5, false],
    outputSd: [0, contextTokens, false],
    maxNewTokens: [1, contextTokens, true],
    memoryBytes: [0, 1e15, false],
    freeMemoryBytes: [0, 1e15, false],
    waitingRequests: [1, 1e6, true],
    inFlight: [0, 1e6, true],
    edgeBacklogSeconds: [0, 1e6, false],
    cloudBacklogSeconds: [0, 1e6, false],
    tenants: [0, 1e6, false],
    tenantsAgeSeconds: [0, 1e6, false],
    sinceHeartbeatSeconds: [0, 1e6, false],
  }
  for (const [name, [low, high, whole]] of Object.entries(ranges)) {
    const value = conditions[name as keyof Conditions]
    if (value === undefined) continue
    if (typeof value === 'number' && value >= low && value <= high && (!whole || Number.isInteger(value))) {
      continue
    }
    throw new InputError({
      where: name,
      expected: `${whole ? 'an integer' : 'a number'} in ${low}..${high}`,
      found: String(value),
      ...(name === 'outputTokens'
        ? { remedy: `prompt and output share a context of ${contextTokens} tokens` }
        : {}),
    })
  }
}
