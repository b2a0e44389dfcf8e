import type { Subgraph, SubgraphPart } from '../../model/graphs/subgraphTypes.ts'
import type { FfnPart } from '../../model/spec.ts'

/** Subgraphs that are timed. Chains hold one block from each of several layers, fused as in the runtime. */

/** The smallest possible subgraph: its time is the cost of a call. */
export const TRIVIAL: Subgraph = {
  input: 'x',
  parts: [{ kind: 'attention', layer: 0, units: [], residual: true }],
}

/** The embedding alone. */
export const EMBEDDING: Subgraph = { input: 'ids', parts: [{ kind: 'embed' }] }
/** The lm_head alone. */
export const HEAD: Subgraph = { input: 'x', parts: [{ kind: 'head' }] }

/** The first `units` units of the first `layers` layers. */
export function attentionChain(layers: number, units: number): Subgraph {
  return { input: 'x', parts: each(layers, (layer) => [attention(layer, units)]) }
}

/** The FFNs of the first `layers` layers. */
export function ffnChain(layers: number): Subgraph {
  return { input: 'x', parts: each(layers, (layer) => [ffn(layer, 'whole')]) }
}

/** The first `layers` layers, with `units` units of attention. */
export function layerChain(layers: number, units: number): Subgraph {
  return { input: 'x', parts: each(layers, (layer) => [attention(layer, units), ffn(layer, 'whole')]) }
}

/** A half of one layer's FFN; halves cannot be chained. */
export function ffnHalf(layer: number, part: 'first' | 'second'): Subgraph {
  return { input: part === 'second' ? 'x+hidden' : 'x', parts: [ffn(layer, part)] }
}

function each(layers: number, parts: (layer: number) => SubgraphPart[]): SubgraphPart[] {
  return Array.from({ length: layers }, (_, layer) => parts(layer)).flat()
}

function attention(layer: number, units: number): SubgraphPart {
  return { kind: 'attention', layer, units: Array.from({ length: units }, (_, unit) => unit), residual: true }
}

function ffn(layer: number, part: FfnPart): SubgraphPart {
  return { kind: 'ffn', layer, part }
}
