import { tensorOf, zeros } from '../../core/onnx/tensor.ts'
import type { Tensor } from '../../core/onnx/tensor.ts'
import type { RandomStream } from '../../core/random.ts'
import type { ActorSpec } from '../../policy/actor/actor.ts'
import { MASKED_LOGIT } from '../../policy/actor/graph.ts'
import type { HeadRolloutBuffer, RolloutBuffer } from './rolloutBuffer.ts'

/** Inputs of a training step, one row for each decision. */
interface BatchSource {
  readonly rollout: RolloutBuffer
  /** [M], standardised. */
  readonly advantages: Float64Array
  /** [M, K] in the critics' normalised unit. */
  readonly targets: Float32Array
  readonly values: Float32Array
}

/** The feeds of the training step, refilled for every minibatch of B decisions. */
export class Minibatch {
  readonly feeds: Record<string, Tensor> = {}
  private readonly spec: ActorSpec
  private readonly batch: number

  constructor(spec: ActorSpec, batch: number, valueClip: boolean) {
    const critics = spec.critics.length
    this.spec = spec
    this.batch = batch
    this.feeds.normalised = zeros('float32', [batch, spec.observationSize])
    this.feeds.oldLogProbability = zeros('float32', [batch])
    this.feeds.advantages = zeros('float32', [batch])
    this.feeds.targets = zeros('float32', [batch, critics])
    if (valueClip) this.feeds.oldValues = zeros('float32', [batch, critics])
    spec.heads.forEach((head, index) => {
      const total = batch * spec.headOf.filter((of) => of === index).length
      this.feeds[`choices.${head.name}`] = zeros('int32', [total, 1])
      if (head.usesRowFeatures)
        this.feeds[`features.${head.name}`] = zeros('float32', [total, spec.rowFeatureSize])
      if (head.masked) this.feeds[`maskBias.${head.name}`] = zeros('float32', [total, head.choices])
    })
  }

  /** Sets a scalar or vector input. */
  setVector(name: string, values: readonly number[], dims: readonly number[] = [values.length]): void {
    this.feeds[name] = tensorOf('float32', dims, values)
  }

  /** Copies decisions order[start .. start + B) of the source. */
  fill(source: BatchSource, order: Int32Array, start: number): void {
    const { rollout } = source
    const critics = this.spec.critics.length
    this.gather('normalised', rollout.normalised, this.spec.observationSize, order, start)
    this.gather('oldLogProbability', rollout.logProbability, 1, order, start)
    this.gather('advantages', source.advantages, 1, order, start)
    this.gather('targets', source.targets, critics, order, start)
    if (this.feeds.oldValues !== undefined) this.gather('oldValues', source.values, critics, order, start)
    this.spec.heads.forEach((head, index) => this.fillHead(head.name, rollout.heads[index], order, start))
  }

  private fillHead(name: string, head: HeadRolloutBuffer, order: Int32Array, start: number): void {
    const { rows, choices, features, masks } = head
    this.gather(`choices.${name}`, choices, rows, order, start)
    if (features.length > 0) {
      this.gather(`features.${name}`, features, (features.length / choices.length) * rows, order, start)
    }
    if (masks.length === 0) return
    const width = (masks.length / choices.length) * rows
    const bias = this.feeds[`maskBias.${name}`].data as Float32Array
    for (let b = 0; b < this.batch; b++) {
      const from = order[start + b] * width
      for (let k = 0; k < width; k++) bias[b * width + k] = masks[from + k] === 1 ? 0 : MASKED_LOGIT
    }
  }

  private gather(
    name: string,
    source: Float32Array | Float64Array | Int32Array,
    width: number,
    order: Int32Array,
    start: number,
  ): void {
    const target = this.feeds[name].data as Float32Array | Int32Array
    for (let b = 0; b < this.batch; b++) {
      const from = order[start + b] * width
      for (let k = 0; k < width; k++) target[b * width + k] = source[from + k]
    }
  }
}

/** Fisher-Yates shuffle in place. */
export function shuffle(order: Int32Array, stream: RandomStream): void {
  for (let i = order.length - 1; i > 0; i--) {
    const j = stream.integer(i + 1)
    const kept = order[i]
    order[i] = order[j]
    order[j] = kept
  }
}
