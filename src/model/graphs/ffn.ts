import type { Handle } from '../../core/onnx/graph.ts'
import { linear, norm, op } from './layers.ts'
import type { Scope } from './scope.ts'

/** GPT-2: gelu(x W1 + b1) with the tanh approximation. LLaMA: silu(x Wgate) * (x W1). */
export function ffnFirst(scope: Scope, x: Handle): Handle {
  const { graph } = scope
  const normed = norm(scope, x)
  if (scope.model.family === 'gpt2')
    return op(graph, 'Gelu', [linear(scope, 'first', normed, 'firstBias')], { approximate: 'tanh' })
  const up = linear(scope, 'first', normed, null)
  const gate = linear(scope, 'gate', normed, null)
  return op(graph, 'Mul', [op(graph, 'Mul', [gate, op(graph, 'Sigmoid', [gate])]), up])
}

/** x + hidden W2 + b2. */
export function ffnSecond(scope: Scope, x: Handle, hidden: Handle): Handle {
  const bias = scope.has('secondBias') ? 'secondBias' : null
  return op(scope.graph, 'Add', [x, linear(scope, 'second', hidden, bias)])
}
