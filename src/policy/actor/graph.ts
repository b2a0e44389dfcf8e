import { GraphBuilder } from '../../core/onnx/builder.ts'
import type { Handle } from '../../core/onnx/builder.ts'
import type { Dim } from '../../core/onnx/proto.ts'
import { parameterViews } from '../../core/onnx/parameters.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import { actorLayout } from './actor.ts'
import type { ActorHead, ActorSpec, Normaliser } from './actor.ts'

/** Added to the logit of a choice that is not allowed; its probability is then exactly 0 in float32. */
export const MASKED_LOGIT = -1e9

/** Named parameters as values of a graph, in their shapes. */
export type ParameterHandles = Readonly<Record<string, Handle>>

/** An MLP with tanh between its layers (and after the last one if `lastTanh`); x [N, in] -> [N, out]. */
function mlp(
  graph: GraphBuilder,
  parameters: ParameterHandles,
  prefix: string,
  layers: number,
  x: Handle,
  lastTanh: boolean,
): Handle {
  let value = x
  for (let i = 0; i < layers; i++) {
    const weight = parameters[`${prefix}.${i}.weight`]
    value = graph.gemm(value, weight, parameters[`${prefix}.${i}.bias`])
    if (lastTanh || i < layers - 1) value = graph.tanh(value)
  }
  return value
}

/** Normalised observations [N, D] -> h [N, encoded]. */
export function encoder(
  graph: GraphBuilder,
  spec: ActorSpec,
  parameters: ParameterHandles,
  x: Handle,
): Handle {
  return mlp(graph, parameters, 'encoder', spec.encoder.length, x, true)
}

/** Normalised observations [N, D] -> one critic's values [N, 1]. */
export function critic(
  graph: GraphBuilder,
  spec: ActorSpec,
  parameters: ParameterHandles,
  name: string,
  x: Handle,
): Handle {
  return mlp(graph, parameters, `critic.${name}`, spec.criticHidden.length + 1, x, false)
}

/**
 * Logits [N * rows, C] for `rows` rows of one head in each of N decisions: h [N, encoded], features [N * rows, S] or
 * null. The part that depends only on h is computed once for each decision.
 */
export function headLogits(
  graph: GraphBuilder,
  head: ActorHead,
  parameters: ParameterHandles,
  h: Handle,
  features: Handle | null,
  rows: number,
): Handle {
  const get = (name: string): Handle => parameters[`head.${head.name}.${name}`]
  const n = h.dims[0]
  const prior = features === null ? null : graph.gemm(features, get('prior.weight'), get('out.bias'))
  if (head.hidden === 0) {
    const linear = graph.gemm(h, get('out.weight'), rows === 1 ? (prior ?? get('out.bias')) : null)
    if (rows === 1) return linear
    return spread(graph, linear, prior ?? get('out.bias'), n, rows, head.choices)
  }
  const base = graph.gemm(h, get('hidden.weight'), get('hidden.bias'))
  const before =
    features === null
      ? rows === 1
        ? base
        : spread(graph, base, null, n, rows, head.hidden)
      : rows === 1
        ? graph.gemm(features, get('row.weight'), base)
        : spread(graph, base, graph.matmul(features, get('row.weight')), n, rows, head.hidden)
  return graph.gemm(graph.tanh(before), get('out.weight'), prior ?? get('out.bias'))
}

/** Repeats value [N, width] for each row, and adds `rest` [N * rows, width] or a bias [width]: [N * rows, width]. */
function spread(
  graph: GraphBuilder,
  value: Handle,
  rest: Handle | null,
  n: Dim,
  rows: number,
  width: number,
): Handle {
  const single = graph.unsqueeze(value, [1])
  if (typeof n !== 'number') throw new RangeError('headLogits: several rows a decision need a fixed batch')
  const whole =
    rest === null || rest.dims.length === 1
      ? graph.add(graph.expand(single, [1, rows, 1]), rest ?? 0)
      : graph.add(single, graph.reshape(rest, [n, rows, width]))
  return graph.reshape(whole, [n * rows, width])
}

/**
 * Graph of the critics' values for normalised observations [N, D]: input `normalised`, output `values` [N, critics].
 */
export function criticModel(spec: ActorSpec): Uint8Array {
  const graph = new GraphBuilder('critics')
  const layout = actorLayout(spec)
  const parameters = parameterViews(graph, graph.input('parameters', 'float32', [layout.size]), layout)
  const x = graph.input('normalised', 'float32', ['N', spec.observationSize])
  const values = spec.critics.map((name) => critic(graph, spec, parameters, name, x))
  graph.output(graph.concat(values, 1), 'values')
  return graph.serialize()
}

/**
 * The policy as one ONNX model that includes its normaliser.
 * - inputs: observation [N, D]; row_features [N, S] if any head uses them; mask.<head> [N, C] (bool, true = allowed)
 * for masked heads; uniforms [N].
 * - outputs: hidden [N, encoded]; for every head logits.<head> [N, C] (MASKED_LOGIT or below where not allowed),
 * greedy.<head> [N] (lowest index on a tie) and sampled.<head> [N] (first choice whose cumulative probability exceeds
 * the uniform), both int64.
 * N is dynamic.
 */
export function policyModel(
  spec: ActorSpec,
  parameters: Float32Array,
  normaliser: Normaliser,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const graph = new GraphBuilder('policy', { metadata })
  const handles: Record<string, Handle> = {}
  const layout = actorLayout(spec)
  for (const { name, dims, offset, size } of layout.entries) {
    if (offset >= layout.actorSize) break
    handles[name] = graph.initializer(name, tensor('float32', dims, parameters.slice(offset, offset + size)))
  }
  const size = spec.observationSize
  const mean = graph.initializer('normaliser.mean', tensor('float32', [size], normaliser.mean.slice()))
  const scale = graph.initializer('normaliser.scale', tensor('float32', [size], normaliser.scale.slice()))
  const observation = graph.input('observation', 'float32', ['N', size])
  const usesRows = spec.heads.some((head) => head.usesRowFeatures)
  const features = usesRows ? graph.input('row_features', 'float32', ['N', spec.rowFeatureSize]) : null
  const uniforms = graph.unsqueeze(graph.input('uniforms', 'float32', ['N']), [1])
  const scaled = graph.mul(graph.sub(observation, mean), scale)
  const h = encoder(graph, spec, handles, graph.clip(scaled, -spec.observationClip, spec.observationClip))
  for (const head of spec.heads) {
    const raw = headLogits(graph, head, handles, h, head.usesRowFeatures ? features : null, 1)
    const mask = head.masked ? graph.input(`mask.${head.name}`, 'bool', ['N', head.choices]) : null
    const logits = mask === null ? raw : graph.where(mask, raw, MASKED_LOGIT)
    graph.output(logits, `logits.${head.name}`)
    graph.output(graph.argMax(logits, -1), `greedy.${head.name}`)
    graph.output(inverseSample(graph, graph.softmax(logits, -1), uniforms), `sampled.${head.name}`)
  }
  graph.output(h, 'hidden')
  return graph.serialize()
}

/** Index of the first choice whose cumulative probability exceeds uniform x total; never one with probability 0. */
function inverseSample(graph: GraphBuilder, probabilities: Handle, uniforms: Handle): Handle {
  const choices = probabilities.dims[1] as number
  const cumulated = graph.cumSum(probabilities, 1)
  const level = graph.mul(uniforms, graph.slice(cumulated, 1, choices - 1))
  const passed = graph.reduceSum(graph.cast(graph.lessOrEqual(cumulated, level), 'float32'), [1])
  const index = graph.constant(Array.from({ length: choices }, (_, i) => i))
  const possible = graph.cast(graph.greater(probabilities, 0), 'float32')
  const last = graph.reduceMax(graph.mul(possible, index), [1])
  return graph.cast(graph.min(passed, last), 'int64')
}
