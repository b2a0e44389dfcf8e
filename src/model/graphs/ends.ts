import type { Handle } from '../../core/onnx/graph.ts'
import { linear, norm, op } from './layers.ts'
import type { Scope } from './scope.ts'

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
