import { sumCurve } from '../../plan/price/curves.ts'
import { pairUnits, type DevicePair } from '../../plan/price/pair.ts'
import { expectedCloudSlowdown, type DecisionProblem } from '../../plan/price/problem.ts'
import type { Situation } from '../../plan/price/situation.ts'
import type { BlockCosts } from '../../plan/profile/costs.ts'

/** Names of the observation's elements, in order; part of the bundle's contract. */
export const OBSERVATION_NAMES = [
  'log1pWaitingRequests',
  'inFlight',
  'log1pEdgeBacklogSeconds',
  'log1pCloudBacklogSeconds',
  'log1pUplinkQueuedKilobytes',
  'log1pEdgeSecondsPerRequest',
  'log1pVirtualEnergy',
  'log1pVirtualAccuracy',
  'log1pVirtualMoney',
  'logUpMbpsShort',
  'logUpMbpsLong',
  'upRelativeSpread',
  'logDownMbpsShort',
  'logDownMbpsLong',
  'downRelativeSpread',
  'logRttMilliseconds',
  'logRttSpreadMilliseconds',
  'log1pSinceHeartbeatSeconds',
  'log1pSinceTransferSeconds',
  'log1pArrivalsPerMinute',
  'logPromptTokens',
  'logPredictedOutputTokens',
  'predictedOutputRelativeSd',
  'log1pWaitedSeconds',
  'tenantsHeard',
  'log1pTenantsAgeSeconds',
  'edgeSlowdown',
  'logCloudSlowdown',
  'log1pCloudSlowdownAgeSeconds',
  'logExpectedCloudSlowdown',
  'log1pRecentEdgeSecondsPerToken',
  'log1pRecentCloudSecondsPerToken',
  'freeMemoryShare',
  'residentShare',
  'logEdgePrefillSeconds',
  'logEdgeDecodeSeconds',
  'logCloudPrefillSeconds',
  'logCloudDecodeSeconds',
  'log1pEdgeWorkWaitingSeconds',
  'logModelParametersPerLayer',
  'logEdgeOverCloudDecode',
  'replanning',
  'log1pDeliveredTokens',
] as const

/** Number of elements of an observation. */
export const OBSERVATION_SIZE = OBSERVATION_NAMES.length

/** Version of the names and their meaning; a bundle with another version is refused. */
export const OBSERVATION_VERSION = 2

/**
 * Writes the unnormalised observation of a situation, [OBSERVATION_SIZE]. Training, export and runtime all use this
 * function.
 */
export function encodeObservation(problem: DecisionProblem, s: Situation, out: Float32Array): void {
  const { pair } = problem
  const edge = wholeRequest(pair.edge, pair, s)
  const cloud = wholeRequest(pair.cloud, pair, s)
  const edgeWaiting = s.edgeBacklogSeconds + (s.waitingRequests - 1) * s.edgeSecondsPerRequest
  out.set([
    Math.log1p(s.waitingRequests),
    s.inFlight,
    Math.log1p(s.edgeBacklogSeconds),
    Math.log1p(s.cloudBacklogSeconds),
    Math.log1p(s.uplinkQueuedBytes / 1e3),
    Math.log1p(s.edgeSecondsPerRequest),
    Math.log1p(s.virtual.energy),
    Math.log1p(s.virtual.accuracy),
    Math.log1p(s.virtual.money),
    logMbps(s.up.shortBitsPerSecond),
    logMbps(s.up.longBitsPerSecond),
    Math.min(4, s.up.relativeSpread),
    logMbps(s.down.shortBitsPerSecond),
    logMbps(s.down.longBitsPerSecond),
    Math.min(4, s.down.relativeSpread),
    Math.log(Math.max(0.1, 1e3 * s.rttSeconds)),
    Math.log(Math.max(0.1, 1e3 * s.rttSpreadSeconds)),
    Math.log1p(s.sinceHeartbeatSeconds),
    Math.log1p(s.sinceTransferSeconds),
    Math.log1p(60 * s.arrivalsPerSecond),
    Math.log(s.promptTokens),
    Math.log(s.predictedOutputTokens),
    s.predictedOutputSd / s.predictedOutputTokens,
    Math.log1p(s.waitedSeconds),
    s.tenantsHeard,
    Math.log1p(s.tenantsAgeSeconds),
    s.edgeSlowdown,
    Math.log(s.cloudSlowdown),
    Math.log1p(s.cloudSlowdownAgeSeconds),
    Math.log(expectedCloudSlowdown(problem, s)),
    Math.log1p(Number.isNaN(s.recentEdgeSecondsPerToken) ? 0 : s.recentEdgeSecondsPerToken),
    Math.log1p(Number.isNaN(s.recentCloudSecondsPerToken) ? 0 : s.recentCloudSecondsPerToken),
    share(s.freeMemoryBytes, s.memoryBytes),
    share(s.residentBytes, s.memoryBytes),
    Math.log(edge.prefillSeconds),
    Math.log(edge.decodeSeconds),
    Math.log(cloud.prefillSeconds),
    Math.log(cloud.decodeSeconds),
    Math.log1p(edgeWaiting),
    Math.log(pair.model.width * pair.model.ffnWidth),
    Math.log(edge.decodeSeconds / cloud.decodeSeconds),
    s.replanning ? 1 : 0,
    Math.log1p(s.deliveredTokens),
  ])
}

function logMbps(bitsPerSecond: number): number {
  return Math.log(Math.max(0.01, bitsPerSecond / 1e6))
}

function share(part: number, whole: number): number {
  return Number.isFinite(whole) && whole > 0 ? Math.min(1, part / whole) : 1
}

/** Profiled seconds of the whole request on one side, with the predicted length. */
function wholeRequest(
  costs: BlockCosts,
  pair: DevicePair,
  s: Situation,
): { prefillSeconds: number; decodeSeconds: number } {
  const { layers } = pair.model
  const units = pairUnits(pair)
  const cycles = Math.max(1, Math.round(s.predictedOutputTokens) - 1)
  const prefill =
    layers *
    (costs.attentionPrefillSeconds(s.promptTokens, units) + costs.ffnSeconds('whole', s.promptTokens))
  const attention = sumCurve(
    costs.contextKnots,
    costs.attentionDecodeCurve(units),
    s.promptTokens + 1,
    s.promptTokens + cycles,
  )
  const decode = layers * (attention + cycles * costs.ffnSeconds('whole', 1)) + cycles * costs.headSeconds()
  return {
    prefillSeconds: Math.max(1e-9, prefill + costs.headSeconds()),
    decodeSeconds: Math.max(1e-9, decode),
  }
}
