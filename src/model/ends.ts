import { GraphRecorder } from '../onnx/graph.ts'
import { norm, op, weight } from './layers.ts'
import type { ModelSpec } from './spec.ts'
import type { EmbeddingWeights, HeadWeights } from './weights.ts'

/**
 * Token embedding, with GPT-2's learned positions.
 * Inputs: ids int64 [tokens]; positions int64 [tokens] (GPT-2 only). Output: x float32 [tokens, width].
 */
export function embeddingGraph(model: ModelSpec, weights: EmbeddingWeights): GraphRecorder {
  const graph = new GraphRecorder('embedding')
  const ids = graph.input('ids', 'int64', ['tokens'])
  const rows = op(
    graph,
    'Gather',
    [weight(graph, 'tokens', [model.vocabulary, model.width], weights.tokens), ids],
    { axis: 0 },
  )
  if (weights.positions === null) {
    graph.output(rows, 'x')
    return graph
  }
  const positions = graph.input('positions', 'int64', ['tokens'])
  const table = weight(graph, 'positionTable', [model.contextTokens, model.width], weights.positions)
  graph.output(op(graph, 'Add', [rows, op(graph, 'Gather', [table, positions], { axis: 0 })]), 'x')
  return graph
}

/** Final norm and LM head of one position. Input: x float32 [1, width]. Output: logits float32 [1, vocabulary]. */
export function headGraph(model: ModelSpec, weights: HeadWeights): GraphRecorder {
  const graph = new GraphRecorder('head')
  const x = graph.input('x', 'float32', [1, model.width])
  const normed = norm(graph, model, x, weights.normScale, weights.normBias)
  const matrix = weight(graph, 'matrix', [model.vocabulary, model.width], weights.matrix)
  graph.output(op(graph, 'Gemm', [normed, matrix], { transB: 1 }), 'logits')
  return graph
}
