import { GraphRecorder } from '../../src/core/onnx/graph.ts'
import { embeddingBlock, ffnFirstBlock, ffnSecondBlock, lmHeadBlock } from '../../src/model/graphs/blocks.ts'
import { embed, logitsOf } from '../../src/model/graphs/ends.ts'
import { ffnFirst, ffnSecond } from '../../src/model/graphs/ffn.ts'
import { Scope } from '../../src/model/graphs/scope.ts'
import type { EmbeddingWeights, FfnWeights, LmHeadWeights } from '../../src/model/graphs/weights.ts'
import type { FfnPart, ModelSpec } from '../../src/model/spec.ts'

/** Graphs of one block each; the runtime's graphs are subgraphs of many blocks. */

/**
 * Graph of an FFN or a half of it.
 * whole: x [tokens, width] -> y [tokens, width], including residual and norm.
 * first: x [tokens, width] -> hidden [tokens, ffnWidth], including norm and activation.
 * second: hidden [tokens, ffnWidth] and the residual x [tokens, width] -> y [tokens, width].
 */
export function ffnGraph(model: ModelSpec, part: FfnPart, weights: FfnWeights): GraphRecorder {
  const graph = new GraphRecorder(`ffn-${part}`)
  const x = graph.input('x', 'float32', ['tokens', model.width])
  const first = new Scope(
    graph,
    model,
    ffnFirstBlock('ffn', model, 'fp32', () => weights),
  )
  const second = new Scope(
    graph,
    model,
    ffnSecondBlock('ffn', model, 'fp32', () => weights),
  )
  const hidden =
    part === 'second' ? graph.input('hidden', 'float32', ['tokens', model.ffnWidth]) : ffnFirst(first, x)
  if (part === 'first') graph.output(hidden, 'hidden')
  else graph.output(ffnSecond(second, x, hidden), 'y')
  return graph
}

/**
 * Graph of the token embedding, with GPT-2's learned positions.
 * Inputs: ids int64 [tokens]; positions int64 [tokens] (GPT-2 only). Output: x float32 [tokens, width].
 */
export function embeddingGraph(model: ModelSpec, weights: EmbeddingWeights): GraphRecorder {
  const graph = new GraphRecorder('embedding')
  const scope = new Scope(
    graph,
    model,
    embeddingBlock('embedding', model, () => weights),
  )
  const ids = graph.input('ids', 'int64', ['tokens'])
  const positions = model.family === 'gpt2' ? graph.input('positions', 'int64', ['tokens']) : null
  graph.output(embed(scope, ids, positions), 'x')
  return graph
}

/**
 * Graph of final norm and lm_head for one position.
 * Input: x float32 [1, width]. Output: logits float32 [1, vocabulary].
 */
export function lmHeadGraph(model: ModelSpec, weights: LmHeadWeights): GraphRecorder {
  const graph = new GraphRecorder('head')
  const scope = new Scope(
    graph,
    model,
    lmHeadBlock('head', model, 'fp32', false, () => weights),
  )
  const x = graph.input('x', 'float32', [1, model.width])
  graph.output(
    logitsOf(scope, x, () => scope.weight('matrix')),
    'logits',
  )
  return graph
}
