import { curveAt } from './curves.ts'

/**
 * A plan compiled for one request: a short program of stages on resources (docs/model.md (6) to (8)). Both simulators
 * run it; `evaluateProgram` gives its times for a request alone.
 */
export const RESOURCE = { edge: 0, up: 1, cloud: 2, down: 3 } as const
/** One of RESOURCE. */
export type Resource = 0 | 1 | 2 | 3

/**
 * One stage. Compute stages (edge, cloud) take `seconds` plus, in a decode cycle, the value of `curve` at the context
 * length. Transfers (up, down) carry `bytes`.
 */
export interface Stage {
  readonly resource: Resource
  /** Indices of stages in the same list that must be complete before; empty: starts with the list. */
  readonly after: readonly number[]
  /** Fixed compute seconds (0 for transfers). */
  readonly seconds: number
  /** Seconds at the context knots of this side, or null: linear between knots (compute stages of decode cycles only). */
  readonly curve: Float64Array | null
  /** Bytes on the wire, framing included (0 for compute). */
  readonly bytes: number
  /**
   * A token id: one small packet that travels between others. It takes its serialisation time and latency, but neither
   * waits in the link's queue nor occupies the link.
   */
  readonly express: boolean
}

/** Stages in topological order. */
export interface StageList {
  readonly stages: readonly Stage[]
  /** The next cycle starts when this stage completes. */
  readonly loop: number
  /** The user has the token when this stage completes. */
  readonly deliver: number
}

/**
 * Prefill yields token 1. Token i = 2..n comes from `cycles[kind(i)]` with
 * context promptTokens + i - 1 (tokens in the cache before this one). kind(i) is 1 for
 * tokens asked of the cloud, see askedOfCloud; programs without early exit have one cycle.
 */
export interface Program {
  readonly prefill: StageList
  readonly cycles: readonly StageList[]
  /** Share of tokens asked of the cloud (0 without a collaborative exit). */
  readonly askShare: number
  /** Context knots of the curves, edge and cloud. */
  readonly edgeKnots: Float64Array
  readonly cloudKnots: Float64Array
  /** Added log-perplexity of this plan (nats per token, averaged over the output). */
  readonly accuracyLoss: number
  /** Edge memory: weights of the plan, and K/V per token of context. */
  readonly edgeWeightBytes: number
  readonly edgeKvBytesPerToken: number
}

/**
 * Whether the cloud is asked for token i (1 = the prefill's) at share q: questions are spread evenly (Bresenham), so
 * that a run is deterministic and meets the share within one token.
 */
export function askedOfCloud(share: number, token: number): boolean {
  return Math.floor(token * share) > Math.floor((token - 1) * share)
}

/** Whether a stage is a message. */
export function isTransfer({ resource }: Stage): boolean {
  return resource === RESOURCE.up || resource === RESOURCE.down
}

/** Profiled seconds of a compute stage at a context length. */
export function stageSeconds(
  program: Pick<Program, 'edgeKnots' | 'cloudKnots'>,
  stage: Stage,
  context: number,
): number {
  if (stage.curve === null) return stage.seconds
  const knots = stage.resource === RESOURCE.edge ? program.edgeKnots : program.cloudKnots
  return stage.seconds + curveAt(knots, stage.curve, context)
}

/** A program on sides that are slower than profiled by these factors. */
export function slowProgram(program: Program, edge: number, cloud: number): Program {
  if (edge === 1 && cloud === 1) return program
  const list = (stages: StageList): StageList => ({
    ...stages,
    stages: stages.stages.map((stage) => {
      const factor = stage.resource === RESOURCE.edge ? edge : stage.resource === RESOURCE.cloud ? cloud : 1
      return factor === 1
        ? stage
        : {
            ...stage,
            seconds: factor * stage.seconds,
            curve: stage.curve?.map((value) => factor * value) ?? null,
          }
    }),
  })
  return { ...program, prefill: list(program.prefill), cycles: program.cycles.map(list) }
}
