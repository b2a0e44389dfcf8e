import type { FfnPart } from '../spec.ts'

/**
 * Consecutive parts of the model that one side computes without a message in between: one ONNX graph, one session.
 * Tensors are float32 and [tokens, width] unless said otherwise.
 */
export interface Subgraph {
  /**
   * What the subgraph starts from.
   * `ids`: token ids (int64 [tokens]); the first part is `embed`.
   * `x`: the residual.
   * `x+partial`: the residual and the other side's share of an attention, which are added first.
   * `x+hidden`: the residual and the FFN's inner activations [tokens, ffnWidth]; the first part is an FFN's second
   * half.
   */
  readonly input: 'ids' | 'x' | 'x+partial' | 'x+hidden'
  readonly parts: readonly SubgraphPart[]
}

/** One part of a subgraph. */
export type SubgraphPart =
  | { readonly kind: 'embed' }
  /**
   * `units`, in this order, of one layer's attention. With `residual` the output is x + share (+ output bias); without,
   * it is the share only, and this must be the subgraph's last part. Without units: x (+ output bias).
   */
  | {
      readonly kind: 'attention'
      readonly layer: number
      readonly units: readonly number[]
      readonly residual: boolean
    }
  /** `first` must be the subgraph's last part. */
  | { readonly kind: 'ffn'; readonly layer: number; readonly part: FfnPart }
  /** Final norm and lm_head of the last position (of every sequence, in a batch). Must be the last part. */
  | { readonly kind: 'head' }
  /**
   * Norm and head of the early exit after the first `layer` layers. Must be the last part; the residual is an output
   * besides the logits.
   */
  | { readonly kind: 'exit'; readonly layer: number }

/**
 * Names of the values of a subgraph's graph, the same for every builder and caller.
 * One sequence (`batch` = 1), n >= 1 tokens after `position` cached tokens:
 * - inputs: `ids` int64 [n] or `x` [n, width], with `partial` [n, width] or `hidden` [n, ffnWidth]; `positions` int64
 * [n] if needed (GPT-2's embedding; attention with units, except in a batch of GPT-2, where no token sees another);
 * with attention, `mask` float32 [1, capacity], 0 where the cache holds a token, otherwise -Infinity; `keys.L`,
 * `values.L` [units, capacity, headDim] for each layer L with units, all of the same capacity >= 1.
 * - outputs: `y` [n, width] unless it ends in a head (the residual, or the share of an attention without residual; not
 * called `x`, because in ONNX an input and an output cannot share a name); `hidden` [n, ffnWidth] besides `y` after an
 * FFN's first half; `logits` [1, vocabulary] after a head or exit; `newKeys.L`, `newValues.L` [units, n, headDim].
 * A batch of B >= 2 sequences with one token each: `ids`, `x`, `positions`, `partial`, `hidden`, `y`, `logits` have B
 * rows. `mask.b`, `keys.L.b`, `values.L.b` and `newKeys.L.b`, `newValues.L.b` [units, 1, headDim] exist for each
 * sequence b; capacities may differ.
 */
export const subgraphTensorNames = {
  mask: (b: number, batch: number): string => (batch === 1 ? 'mask' : `mask.${b}`),
  keys: (layer: number, b: number, batch: number): string => sequence(`keys.${layer}`, b, batch),
  values: (layer: number, b: number, batch: number): string => sequence(`values.${layer}`, b, batch),
  newKeys: (layer: number, b: number, batch: number): string => sequence(`newKeys.${layer}`, b, batch),
  newValues: (layer: number, b: number, batch: number): string => sequence(`newValues.${layer}`, b, batch),
  /** Whether an output belongs in a K/V cache. */
  isNew: (name: string): boolean => name.startsWith('newKeys.') || name.startsWith('newValues.'),
}

function sequence(name: string, b: number, batch: number): string {
  return batch === 1 ? name : `${name}.${b}`
}
