import type { Plan } from '../../plan/plan.ts'
import type { PlanSwitch } from './recoveryTypes.ts'

/**
 * How the next token is drawn. Random numbers are keyed by (seed, position): the same token on either side, at any
 * time.
 */
export interface SamplingParams {
  /** 0 is greedy. */
  readonly temperature: number
  /** Keep the k most likely tokens; 0 keeps all. */
  readonly topK: number
  /** Keep the fewest tokens whose probabilities reach this sum; 1 keeps all. */
  readonly topP: number
  readonly seed: number
}

/** Greedy sampling. */
export const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, seed: 0 }

/** A request as the executor takes it. */
export interface GenerationRequest {
  /** Prompt token ids, at least one. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  readonly plan: Plan
  /** The units of each layer in the cloud: plan.unitsOnCloud[layer] of them, ascending. */
  readonly cloudUnits: readonly (readonly number[])[]
  readonly sampling: SamplingParams
  /** Any of these tokens ends the request; it is part of the output. */
  readonly stopIds: readonly number[]
}

/** One token as it is delivered to the user. */
export interface OutputToken {
  readonly id: number
  /** 0-based position in the sequence, prompt included. */
  readonly position: number
  /** The sampler's two largest logits differed by less than 1e-3. */
  readonly nearTie: boolean
  readonly last: boolean
  readonly atSeconds: number
}

/** One event of a request on one side, on that side's monotonic clock. */
export interface ExecutionEvent {
  readonly side: 'edge' | 'cloud'
  readonly kind: 'load' | 'compute' | 'send' | 'receive'
  /** Number of the execution step; `position` identifies the pass (0 = prefill). */
  readonly step: number
  readonly position: number
  /** Tokens (rows) computed or sent. */
  readonly tokens: number
  /** When it was requested (a run waits for its engine), started and ended. */
  readonly askedSeconds: number
  readonly startSeconds: number
  readonly endSeconds: number
  /** Bytes on the wire including framing; 0 for runs. */
  readonly bytes: number
  /** Sequences in the same run of the graph; 1 without batching. */
  readonly batch: number
}

/** Result of a generation request. */
export interface RequestOutput {
  readonly tokens: readonly OutputToken[]
  readonly dispatchSeconds: number
  readonly nearTies: number
  /** Events of both sides if requested, with the cloud's shifted to the edge's clock; otherwise the edge's only. */
  readonly events: readonly ExecutionEvent[]
  /** The plans that produced the tokens; forced on another run, they give the same tokens. */
  readonly planSwitches: readonly PlanSwitch[]
}
