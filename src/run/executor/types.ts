import type { Plan } from '../../plan/plan.ts'
import type { PlanSwitch } from './recoveryTypes.ts'

/** How the next token is drawn. Noise is keyed by (seed, position): the same token whoever draws it, and when. */
export interface SamplingParams {
  /** 0 is greedy. */
  readonly temperature: number
  /** Keep the k likeliest tokens; 0 keeps all. */
  readonly topK: number
  /** Keep the fewest tokens whose probabilities reach this sum; 1 keeps all. */
  readonly topP: number
  readonly seed: number
}

export const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, seed: 0 }

export interface GenerationRequest {
  /** Prompt token ids, at least one. */
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  readonly plan: Plan
  /** Which units of each layer lie in the cloud: plan.unitsOnCloud[layer] of them, ascending. */
  readonly cloudUnits: readonly (readonly number[])[]
  readonly sampling: SamplingParams
  /** A token of these ends the request; it is part of the output. */
  readonly stopIds: readonly number[]
}

/** One token as it is delivered to the user. */
export interface OutputToken {
  readonly id: number
  /** 0-based position in the sequence, prompt included. */
  readonly position: number
  /** The sampler's top two logits were closer than 1e-3. */
  readonly nearTie: boolean
  readonly last: boolean
  readonly atSeconds: number
}

/** What one side did for one request, on that side's monotonic clock. */
export interface ExecutionEvent {
  readonly side: 'edge' | 'cloud'
  readonly kind: 'load' | 'compute' | 'send' | 'receive'
  /** Index of the schedule's step; the pass is told by `position` (0 = prefill). */
  readonly step: number
  readonly position: number
  /** Tokens (rows) computed or carried. */
  readonly tokens: number
  /** When it was asked for (a compute waits for its engine), started and ended. */
  readonly askedSeconds: number
  readonly startSeconds: number
  readonly endSeconds: number
  /** On the wire, framing included; 0 for compute. */
  readonly bytes: number
  /** Sequences in the same run of the graph; 1 without batching. */
  readonly batch: number
}

export interface RequestOutput {
  readonly tokens: readonly OutputToken[]
  readonly dispatchSeconds: number
  readonly nearTies: number
  /** Both sides' events where asked for, the cloud's shifted to the edge's clock; else the edge's. */
  readonly events: readonly ExecutionEvent[]
  /** By which plans they came: forced on another run, it gives the same tokens. */
  readonly planSwitches: readonly PlanSwitch[]
}
