import type { Objective } from './objective.ts'
import type { DevicePair } from './pair.ts'
import { BOUNDARY_BITS, type BoundaryBits } from '../plan.ts'
import type { LinkState } from './boundary.ts'

/** One request on a constant link: the oracle's question. */
export interface PlanningState {
  readonly link: LinkState
  readonly promptTokens: number
  readonly outputTokens: number
  /** Measured over profiled time of each side (1 = as profiled). */
  readonly edgeSlowdown: number
  readonly cloudSlowdown: number
}

/**
 * Prices that a planner adds to the objective, each per unit of what a plan takes: for contended resources, and for
 * budgets that were overrun (docs/model.md (53)).
 */
export interface Prices {
  /** Per busy second of the edge. */
  readonly edgeSecond: number
  /** Per busy second of a cloud slot. */
  readonly cloudSecond: number
  readonly upByte: number
  /** Per marginal joule at the edge, docs/model.md (22): the idle device's power has no price here. */
  readonly edgeJoule: number
  /** Per nat of added log-perplexity. */
  readonly accuracyNat: number
}

/** Prices of a planner that adds none. */
export const NO_PRICES: Prices = { edgeSecond: 0, cloudSecond: 0, upByte: 0, edgeJoule: 0, accuracyNat: 0 }

/** The plans that are allowed. */
export interface PlanOptions {
  readonly boundaryBits: readonly BoundaryBits[]
  /** Consider early exits (they need the first layers, the embedding and an exit head on the edge). */
  readonly earlyExit: boolean
  /** Thresholds of collaborative exits to consider; null for all in the table. */
  readonly exitThresholds: readonly number[] | null
  /** Allow units of one layer on both sides, and FFN mode 2. */
  readonly mixedLayers: boolean
  /** Edge memory for weights and K/V, bytes; Infinity for no limit. */
  readonly memoryBytes: number
  /** K/V cache is reserved for this many tokens. */
  readonly reservedTokens: number
  /** Number of first and last layers, with embedding and lm_head, that are pinned to the edge. */
  readonly edgeLayersFirst: number
  readonly edgeLayersLast: number
}

/** All boundary bits, no early exit, mixed layers allowed, the device's memory, nothing pinned. */
export function defaultOptions(pair: DevicePair, promptTokens: number, outputTokens: number): PlanOptions {
  return {
    boundaryBits: BOUNDARY_BITS,
    earlyExit: false,
    exitThresholds: null,
    mixedLayers: true,
    memoryBytes: pair.edgeMemoryBytes,
    reservedTokens: Math.min(pair.model.contextTokens, promptTokens + outputTokens),
    edgeLayersFirst: 0,
    edgeLayersLast: 0,
  }
}

/** The oracle's question with its options. */
export interface OracleInput {
  readonly pair: DevicePair
  readonly state: PlanningState
  readonly objective: Objective
  readonly readingTokensPerSecond: number
  readonly options: PlanOptions
  readonly prices: Prices
}
