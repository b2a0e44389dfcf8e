import { GraphRecorder } from '../../core/onnx/graph.ts'
import type { Handle } from '../../core/onnx/graph.ts'
import { embeddingBlock, lmHeadBlock } from './blocks.ts'
import { linear, norm, op } from './layers.ts'
import { Scope } from './scope.ts'
import type { ModelSpec } from '../spec.ts'
import type { EmbeddingWeights, LmHeadWeights } from './weights.ts'

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

/** Rows of the embedding, plus those of the learned positions if the model has them: [n, width]. */
export function embed(scope: Scope, ids: Handle, positions: Handle | null): Handle {
  const { graph } = scope
  const rows = op(graph, 'Gather', [scope.weight('tokens'), ids], { axis: 0 })
  if (positions === null) return rows
  return op(graph, 'Add', [rows, op(graph, 'Gather', [scope.weight('positions'), positions], { axis: 0 })])
}

/**
 * Norm and lm_head projection of rows x [n, width]. If the head's block has no matrix, `tied` gives the embedding's.
 */
export function logitsOf(scope: Scope, x: Handle, tied: () => Handle): Handle {
  const normed = norm(scope, x)
  if (scope.has('matrix.int8')) return linear(scope, 'matrix', normed, null)
  const matrix = scope.has('matrix') ? scope.weight('matrix') : tied()
  return op(scope.graph, 'Gemm', [normed, matrix], { transB: 1 })
}
