import { GraphRecorder } from '../../src/core/onnx/graph.ts'
import type { Handle } from '../../src/core/onnx/graph.ts'
import {
  attend,
  cacheSizes,
  causalMask,
  finish,
  project,
  residualOnly,
  rowHeads,
  sequenceHeads,
} from '../../src/model/graphs/attend.ts'
import { attentionBlock, ropeBlock } from '../../src/model/graphs/blocks.ts'
import { noRope, ropeAt, RUNTIME_OPSETS } from '../../src/model/graphs/layers.ts'
import type { Rope } from '../../src/model/graphs/layers.ts'
import { Scope } from '../../src/model/graphs/scope.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import type { AttentionWeights } from '../../src/model/graphs/weights.ts'

/** Options of an attention graph. */
export interface AttentionOptions {
  /**
   * Whether this part adds the residual and the output bias. On exactly one side of a split layer it does; the layer's
   * output is the sum of both sides' outputs.
   */
  readonly residual: boolean
}

/**
 * Graph of norm and attention of `weights.units` units over a whole prompt.
 * Inputs: x float32 [tokens, width]; positions int64 [tokens].
 * Outputs: y float32 [tokens, width]; newKeys, newValues float32 [units, tokens, headDim]. Without units (and with the
 * residual): x plus the output bias, no keys or values.
 */
export function attentionPrefillGraph(
  model: ModelSpec,
  weights: AttentionWeights,
  options: AttentionOptions,
): GraphRecorder {
  const { graph, scope, x } = start('attentionPrefill', model, weights, 'tokens')
  if (weights.units === 0) return output(graph, residualOnly(scope, x))
  const positions = graph.input('positions', 'int64', ['tokens'])
  const rope = ropeOf(graph, model, positions)
  const heads = sequenceHeads(scope, project(scope, x, rope), weights.units)
  const mixed = attend(graph, heads, null, causalMask(graph, positions))
  output(graph, finish(scope, x, mixed, options.residual))
  graph.output(heads.keys, 'newKeys')
  graph.output(heads.values, 'newValues')
  return graph
}

/**
 * Graph of norm and attention of `weights.units` units for one token, with a padded, head-major K/V cache.
 * Inputs: x float32 [1, width]; position int64 [1] (tokens before this one; LLaMA only); keys, values float32 [units,
 * capacity, headDim]; mask float32 [1, capacity], 0 where the cache holds a token, otherwise -Infinity.
 * Outputs: y float32 [1, width]; newKeys, newValues float32 [units, 1, headDim], which the caller appends to the cache.
 */
export function attentionDecodeGraph(
  model: ModelSpec,
  weights: AttentionWeights,
  options: AttentionOptions,
): GraphRecorder {
  const { graph, scope, x } = start('attentionDecode', model, weights, 1)
  if (weights.units === 0) return output(graph, residualOnly(scope, x))
  const { units } = weights
  const cacheDims = [units, 'capacity', model.headDim]
  const keys = graph.input('keys', 'float32', cacheDims)
  const values = graph.input('values', 'float32', cacheDims)
  const mask = graph.input('mask', 'float32', [1, 'capacity'])
  const rope = model.family === 'gpt2' ? noRope : ropeOf(graph, model, graph.input('position', 'int64', [1]))
  const [heads] = rowHeads(scope, project(scope, x, rope), units, 1)
  const mixed = attend(graph, heads, { keys, values, mask, sizes: cacheSizes(graph, mask, null) }, null)
  output(graph, finish(scope, x, mixed, options.residual))
  graph.output(heads.keys, 'newKeys')
  graph.output(heads.values, 'newValues')
  return graph
}

function start(name: string, model: ModelSpec, weights: AttentionWeights, tokens: number | string) {
  const graph = new GraphRecorder(name, RUNTIME_OPSETS)
  const block = attentionBlock('attention', model, weights.units, 'fp32', () => weights)
  const scope = new Scope(graph, model, block)
  return { graph, scope, x: graph.input('x', 'float32', [tokens, model.width]) }
}

function ropeOf(graph: GraphRecorder, model: ModelSpec, positions: Handle): Rope {
  return model.family === 'gpt2'
    ? noRope
    : ropeAt(new Scope(graph, model, ropeBlock('rope', model)), positions)
}

function output(graph: GraphRecorder, y: Handle): GraphRecorder {
  graph.output(y, 'y')
  return graph
}
