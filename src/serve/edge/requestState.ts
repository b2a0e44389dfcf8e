import type { CompletionStreamListener, CompletionRequest, CompletionOutput } from '../http/types.ts'
import type { GeneratorHandle } from '../../run/executor/recoveryTypes.ts'
import type { PlanChange, ServedStats, Timed } from './types.ts'

/** One completion from its arrival to its end. */
export interface RequestState {
  readonly number: number
  readonly request: CompletionRequest
  readonly listener: CompletionStreamListener
  /** Prompt and what was generated before a restart. */
  readonly prompt: readonly number[]
  /** Tokens of the answer that were generated before a restart. */
  readonly restored: readonly number[]
  readonly arrivedSeconds: number
  readonly progress: RequestProgress
  readonly resolve: (result: CompletionOutput) => void
  readonly reject: (error: unknown) => void
}

/** What changes while it is carried out. */
export interface RequestProgress {
  handle: GeneratorHandle | null
  dispatchedSeconds: number | null
  firstTokenSeconds: number | null
  lastTokenSeconds: number | null
  /** Generated now; with `restored`, the whole answer. */
  readonly ids: number[]
  /** What decided last, and what was asked of the executor and has not come about yet. */
  choice: Timed | null
  pending: Timed<PlanChange> | null
  edgeSeconds: number
  /** Since when the cloud refuses this request; null: it does not. */
  refusedSinceSeconds: number | null
  /** A cloud that would not have it is left alone until then. */
  avoidCloudUntilSeconds: number
}

export function newRequestProgress(): RequestProgress {
  return {
    ...{ handle: null, dispatchedSeconds: null, firstTokenSeconds: null, lastTokenSeconds: null },
    ...{ ids: [], choice: null, pending: null, edgeSeconds: 0 },
    ...{ refusedSinceSeconds: null, avoidCloudUntilSeconds: 0 },
  }
}

/** Tokens of the answer so far. */
export function delivered({ restored, progress }: RequestState): number {
  return restored.length + progress.ids.length
}

/** What it took, at its end. */
export function statsOf({ arrivedSeconds, progress }: RequestState, atSeconds: number): ServedStats {
  const { dispatchedSeconds, firstTokenSeconds, lastTokenSeconds, ids, handle, choice } = progress
  const further = ids.length - 1
  return {
    placed: choice?.placed ?? null,
    generatedTokens: ids.length,
    queueSeconds: (dispatchedSeconds ?? atSeconds) - arrivedSeconds,
    ttftSeconds: firstTokenSeconds === null ? null : firstTokenSeconds - arrivedSeconds,
    tpotSeconds: further < 1 ? null : (lastTokenSeconds! - firstTokenSeconds!) / further,
    endToEndSeconds: atSeconds - arrivedSeconds,
    upBytes: handle?.upBytes ?? 0,
    downBytes: handle?.downBytes ?? 0,
    edgeSeconds: progress.edgeSeconds,
  }
}
