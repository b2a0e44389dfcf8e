import type { Feeds } from '../../core/engine/types.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import type { Tensor } from '../../core/onnx/tensor.ts'
import type { ActorSpec } from '../actor/actor.ts'

/** Rows of policy.onnx's inputs: [N, D], [N, S], for each head [N, C], [N]. */
interface PolicyRows {
  readonly observations: Float32Array
  readonly features: Float32Array
  readonly masks: readonly Uint8Array[]
  readonly uniforms: Float32Array
}

/** The inputs of policy.onnx for rows from..to. */
export function policyFeeds(spec: ActorSpec, rows: PolicyRows, from: number, to: number): Feeds {
  const count = to - from
  const floats = (data: Float32Array, width: number): Tensor =>
    tensor('float32', [count, width], data.slice(from * width, to * width))
  const feeds: Record<string, Tensor> = {
    observation: floats(rows.observations, spec.observationSize),
    uniforms: tensor('float32', [count], rows.uniforms.slice(from, to)),
  }
  if (spec.heads.some((head) => head.usesRowFeatures)) {
    feeds.row_features = floats(rows.features, spec.rowFeatureSize)
  }
  spec.heads.forEach(({ name, choices, masked }, head) => {
    if (!masked) return
    const mask = rows.masks[head].slice(from * choices, to * choices)
    feeds[`mask.${name}`] = tensor('bool', [count, choices], mask)
  })
  return feeds
}
