import { GraphRecorder } from '../../core/onnx/graph.ts'
import type { Handle } from '../../core/onnx/graph.ts'
import { ffnFirstBlock, ffnSecondBlock } from './blocks.ts'
import { linear, norm, op } from './layers.ts'
import { Scope } from './scope.ts'
import type { FfnPart, ModelSpec } from '../spec.ts'
import type { FfnWeights } from './weights.ts'

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
