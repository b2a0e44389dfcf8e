import type { CompletionListener, CompletionRequest, CompletionResult } from '../http/types.ts'
import type { GenerationHandle } from '../../run/executor/recoveryTypes.ts'
import type { Change, Decided } from './types.ts'

/** One completion from its arrival to its end. */
export interface Job {
  readonly number: number
  readonly request: CompletionRequest
  readonly listener: CompletionListener
  /** Prompt and what was generated before a restart. */
  readonly prompt: readonly number[]
  /** Tokens of the answer that were generated before a restart. */
  readonly restored: readonly number[]
  readonly arrivedSeconds: number
  readonly progress: Progress
  readonly resolve: (result: CompletionResult) => void
  readonly reject: (error: unknown) => void
}

/** What changes while it is carried out. */
export interface Progress {
  handle: GenerationHandle | null
  dispatchedSeconds: number | null
  firstTokenSeconds: number | null
  lastTokenSeconds: number | null
  /** Generated now; with `restored`, the whole answer. */
  readonly ids: number[]
  /** What decided last, and what was asked of the executor and has not come about yet. */
  choice: Decided | null
  pending: Decided<Change> | null
  edgeSeconds: number
  /** Since when the cloud refuses this request; null: it does not. */
  refusedSinceSeconds: number | null
  /** A cloud that would not have it is left alone until then. */
  avoidCloudUntilSeconds: number
}

export function newProgress(): Progress {
  return {
    ...{ handle: null, dispatchedSeconds: null, firstTokenSeconds: null, lastTokenSeconds: null },
    ...{ ids: [], choice: null, pending: null, edgeSeconds: 0 },
    ...{ refusedSinceSeconds: null, avoidCloudUntilSeconds: 0 },
  }
}

/** Tokens of the answer so far. */
export function delivered({ restored, progress }: Job): number {
  return restored.length + progress.ids.length
}
