import type { FfnPart } from '../spec.ts'

/**
 * A segment is a run of sub-blocks that one side computes without a message in between: one graph, one session.
 * Tensors are float32 and [tokens, width] unless said otherwise.
 */
export interface Subgraph {
  /**
   * What it starts from. `ids`: token ids (int64 [tokens]), the first part is `embed`. `x`: the residual.
   * `x+partial`: the residual and the other side's share of an attention, which are added first.
   * `x+hidden`: the residual and the FFN's inner activations [tokens, ffnWidth]; the first part is an FFN's second half.
   */
  readonly input: 'ids' | 'x' | 'x+partial' | 'x+hidden'
  readonly parts: readonly SubgraphPart[]
}

export type SubgraphPart =
  | { readonly kind: 'embed' }
  /**
   * `units`, in this order, of one layer's attention. With `residual` it gives x + share (+ output bias);
   * without, the share alone, and it is then the segment's last part. No units: x (+ output bias).
   */
  | {
      readonly kind: 'attention'
      readonly layer: number
      readonly units: readonly number[]
      readonly residual: boolean
    }
  /** `first` is the segment's last part. */
  | { readonly kind: 'ffn'; readonly layer: number; readonly part: FfnPart }
  /** Final norm and LM head of the last position (of every sequence, in a batch). The last part. */
  | { readonly kind: 'head' }
  /** Norm and head of the early exit after the first `layer` layers. The last part; the residual is an output beside the logits. */
  | { readonly kind: 'exit'; readonly layer: number }

/**
 * Names of a segment graph's values, the same for every builder and caller.
 *
 * One sequence (`batch` = 1): tokens n >= 1 after `position` tokens in the cache.
 *   inputs  `ids` int64 [n] | `x` [n, width], with `partial` [n, width] or `hidden` [n, ffnWidth];
 *           `positions` int64 [n] where the graph needs them (GPT-2's embedding; attention with units, except in a
 *           batch of GPT-2, where no token sees another);
 *           `mask` float32 [1, capacity], 0 where the cache holds a token, else -Infinity (where there is attention);
 *           `keys.L`, `values.L` [units, capacity, headDim] for each layer L with units; capacity >= 1, all alike.
 *   outputs `y` [n, width] (the residual, or the share of an attention without residual) unless it ends in a head:
 *           not `x`, for in ONNX an input and an output cannot have one name;
 *           `hidden` [n, ffnWidth] beside `y` after an FFN's first half; `logits` [1, vocabulary] after a head or exit;
 *           `newKeys.L`, `newValues.L` [units, n, headDim].
 * A batch of B >= 2 sequences, one token each: `ids`, `x`, `positions`, `partial`, `hidden`, `y`, `logits` have B rows;
 *   `mask.b`, `keys.L.b`, `values.L.b` and `newKeys.L.b`, `newValues.L.b` [units, 1, headDim] per sequence b,
 *   whose capacities may differ.
 */
export const subgraphTensorNames = {
  mask: (b: number, batch: number): string => (batch === 1 ? 'mask' : `mask.${b}`),
  keys: (layer: number, b: number, batch: number): string => sequence(`keys.${layer}`, b, batch),
  values: (layer: number, b: number, batch: number): string => sequence(`values.${layer}`, b, batch),
  newKeys: (layer: number, b: number, batch: number): string => sequence(`newKeys.${layer}`, b, batch),
  newValues: (layer: number, b: number, batch: number): string => sequence(`newValues.${layer}`, b, batch),
  /** Whether an output belongs into a cache. */
  isNew: (name: string): boolean => name.startsWith('newKeys.') || name.startsWith('newValues.'),
}

function sequence(name: string, b: number, batch: number): string {
  return batch === 1 ? name : `${name}.${b}`
}
