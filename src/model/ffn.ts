import { GraphRecorder } from '../onnx/graph.ts'
import type { Handle } from '../onnx/graph.ts'
import { linear, norm, op } from './layers.ts'
import type { FfnPart, ModelSpec } from './spec.ts'
import type { FfnWeights } from './weights.ts'

/**
 * An FFN or a half of it.
 * whole: x [tokens, width] -> y [tokens, width], residual and norm included.
 * first: x [tokens, width] -> hidden [tokens, ffnWidth], norm and activation included.
 * second: hidden [tokens, ffnWidth] and the residual x [tokens, width] -> y [tokens, width].
 */
export function ffnGraph(model: ModelSpec, part: FfnPart, weights: FfnWeights): GraphRecorder {
  const graph = new GraphRecorder(`ffn-${part}`)
  const x = graph.input('x', 'float32', ['tokens', model.width])
  if (part === 'second') {
    const hidden = graph.input('hidden', 'float32', ['tokens', model.ffnWidth])
    graph.output(secondHalf(graph, model, x, hidden, weights), 'y')
    return graph
  }
  const hidden = firstHalf(graph, model, x, weights)
  if (part === 'first') graph.output(hidden, 'hidden')
  else graph.output(secondHalf(graph, model, x, hidden, weights), 'y')
  return graph
}

/** GPT-2: gelu(x W1 + b1), gelu by tanh as GPT-2 has it. LLaMA: silu(x Wgate) * (x W1). */
function firstHalf(graph: GraphRecorder, model: ModelSpec, x: Handle, weights: FfnWeights): Handle {
  const normed = norm(graph, model, x, weights.normScale, weights.normBias)
  const up = linear(graph, 'first', normed, model.ffnWidth, weights.first, weights.firstBias)
  if (weights.gate === null) return op(graph, 'Gelu', [up], { approximate: 'tanh' })
  const gate = linear(graph, 'gate', normed, model.ffnWidth, weights.gate, null)
  return op(graph, 'Mul', [op(graph, 'Mul', [gate, op(graph, 'Sigmoid', [gate])]), up])
}

function secondHalf(
  graph: GraphRecorder,
  model: ModelSpec,
  x: Handle,
  hidden: Handle,
  weights: FfnWeights,
): Handle {
  return op(graph, 'Add', [
    x,
    linear(graph, 'second', hidden, model.width, weights.second, weights.secondBias),
  ])
}
