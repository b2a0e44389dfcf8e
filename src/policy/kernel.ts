import { parameterOf } from '../onnx/parameters.ts'
import { actorLayout } from './actor.ts'
import type { ActorSpec, Normaliser } from './actor.ts'
import { dense, tanhInPlace } from './kernelMath.ts'

/** A dense layer ready to run: weights [out, in] (transposed), bias [out]. */
interface Layer {
  readonly inputs: number
  readonly outputs: number
  readonly weight: Float64Array
  readonly bias: Float64Array
}

interface Head {
  readonly hidden: Layer | null
  readonly row: Layer | null
  readonly out: Layer
  readonly prior: Layer | null
  /** [hidden]: h Wh + bh of the present decision. */
  readonly base: Float64Array
  /** [C]: h Wo + bo of the present decision, for a linear head. */
  readonly linear: Float64Array
}

/**
 * Actor and critics as plain loops over typed arrays: what rollouts and the runtime call. One decision
 * is `encode`, then `logits`, `sample` or `greedy` row by row; everything that depends on the observation
 * alone is computed once. Nothing is allocated after construction. Agrees with the ONNX graph to 1e-5.
 */
export class ActorKernel {
  readonly spec: ActorSpec
  /** [D]: the last observation encoded, normalised. */
  readonly normalised: Float32Array
  /** [maxChoices]: logits of the last row; -Infinity where masked. */
  readonly logits: Float64Array
  /** Log-probability of the last choice taken. */
  logProbability = 0
  private readonly mean: Float32Array
  private readonly scale: Float32Array
  private readonly input: Float64Array
  private readonly encoder: Layer[]
  private readonly encoded: Float64Array[]
  private readonly heads: Head[]
  private readonly critics: Layer[][]
  private readonly criticValues: Float64Array[]
  private readonly row: Float64Array
  private readonly hiddenRow: Float64Array
  private readonly exponentials: Float64Array

  constructor(spec: ActorSpec) {
    const widest = Math.max(1, ...spec.heads.map((head) => head.hidden))
    const choices = Math.max(...spec.heads.map((head) => head.choices))
    const encoded = spec.encoder[spec.encoder.length - 1]
    const rows = spec.rowFeatureSize
    this.spec = spec
    this.normalised = new Float32Array(spec.observationSize)
    this.logits = new Float64Array(choices)
    this.exponentials = new Float64Array(choices)
    this.mean = new Float32Array(spec.observationSize)
    this.scale = new Float32Array(spec.observationSize).fill(1)
    this.input = new Float64Array(spec.observationSize)
    this.row = new Float64Array(rows)
    this.hiddenRow = new Float64Array(widest)
    this.encoder = chain([spec.observationSize, ...spec.encoder])
    this.encoded = spec.encoder.map((width) => new Float64Array(width))
    this.heads = spec.heads.map((head) => ({
      hidden: head.hidden > 0 ? layer(encoded, head.hidden) : null,
      row: head.hidden > 0 && head.usesRowFeatures ? layer(rows, head.hidden) : null,
      out: layer(head.hidden > 0 ? head.hidden : encoded, head.choices),
      prior: head.usesRowFeatures ? layer(rows, head.choices) : null,
      base: new Float64Array(head.hidden),
      linear: new Float64Array(head.choices),
    }))
    this.critics = spec.critics.map(() => chain([spec.observationSize, ...spec.criticHidden, 1]))
    this.criticValues = [...spec.criticHidden, 1].map((width) => new Float64Array(width))
  }

  /** Takes over parameters (the flat vector) and the normaliser. */
  load(parameters: Float32Array, normaliser: Normaliser): void {
    const layout = actorLayout(this.spec)
    const get = (name: string): Float32Array => parameterOf(layout, parameters, name)
    const fill = (target: Layer | null, weight: string, bias?: string): void => {
      if (target === null) return
      transpose(get(weight), target)
      if (bias !== undefined) target.bias.set(get(bias))
    }
    this.encoder.forEach((target, i) => fill(target, `encoder.${i}.weight`, `encoder.${i}.bias`))
    this.spec.heads.forEach(({ name }, i) => {
      const head = this.heads[i]
      fill(head.hidden, `head.${name}.hidden.weight`, `head.${name}.hidden.bias`)
      fill(head.row, `head.${name}.row.weight`)
      fill(head.out, `head.${name}.out.weight`, `head.${name}.out.bias`)
      fill(head.prior, `head.${name}.prior.weight`)
    })
    this.spec.critics.forEach((name, c) => {
      this.critics[c].forEach((target, i) =>
        fill(target, `critic.${name}.${i}.weight`, `critic.${name}.${i}.bias`),
      )
    })
    this.mean.set(normaliser.mean)
    this.scale.set(normaliser.scale)
  }

  /** Normalises observation [offset, offset + D) and encodes it; the decision's rows follow. */
  encode(observations: Float32Array, offset = 0): void {
    this.normalise(observations, offset)
    let values = this.input
    for (let i = 0; i < this.encoder.length; i++) {
      apply(this.encoder[i], values, this.encoded[i])
      tanhInPlace(this.encoded[i])
      values = this.encoded[i]
    }
    for (const head of this.heads) {
      if (head.hidden !== null) apply(head.hidden, values, head.base)
      else apply(head.out, values, head.linear)
    }
  }

  /**
   * Writes the logits of a row of `head` for the encoded observation; masked choices get -Infinity.
   * `features` (first S values) and `mask` (first C) are read where the head uses them.
   */
  computeLogits(head: number, features: Float32Array, mask: Uint8Array): void {
    const { hidden, row, out, prior, base, linear } = this.heads[head]
    const { choices, masked } = this.spec.heads[head]
    if (prior !== null) for (let i = 0; i < this.row.length; i++) this.row[i] = features[i]
    if (hidden === null) {
      for (let i = 0; i < choices; i++) this.logits[i] = linear[i]
    } else {
      const width = hidden.outputs
      if (row === null) for (let i = 0; i < width; i++) this.hiddenRow[i] = base[i]
      else dense(this.row, row.weight, base, this.hiddenRow, row.inputs, width)
      tanhInPlace(this.hiddenRow, width)
      dense(this.hiddenRow, out.weight, out.bias, this.logits, width, choices)
    }
    if (prior !== null) dense(this.row, prior.weight, this.logits, this.logits, prior.inputs, choices)
    if (masked) for (let i = 0; i < choices; i++) if (mask[i] === 0) this.logits[i] = -Infinity
  }

  /** Draws a choice by inverse distribution function: the first whose cumulated probability exceeds `uniform`. */
  sample(head: number, features: Float32Array, mask: Uint8Array, uniform: number): number {
    this.computeLogits(head, features, mask)
    const { choices } = this.spec.heads[head]
    const total = this.exponentiate(choices)
    const level = Math.fround(uniform) * total
    let cumulated = 0
    let choice = 0
    for (let i = 0; i < choices; i++) {
      if (this.exponentials[i] === 0) continue
      choice = i
      cumulated += this.exponentials[i]
      if (cumulated > level) break
    }
    this.logProbability = Math.log(this.exponentials[choice] / total)
    return choice
  }

  /** The choice with the largest logit, the lowest index on a tie (in float32, as the graph compares). */
  greedy(head: number, features: Float32Array, mask: Uint8Array): number {
    this.computeLogits(head, features, mask)
    const { choices } = this.spec.heads[head]
    let best = 0
    for (let i = 1; i < choices; i++)
      if (Math.fround(this.logits[i]) > Math.fround(this.logits[best])) best = i
    this.logProbability = Math.log(this.exponentialOf(best, choices))
    return best
  }

  /** Log-probability of `choice` in the row whose logits were computed last. */
  logProbabilityOf(head: number, choice: number): number {
    return Math.log(this.exponentialOf(choice, this.spec.heads[head].choices))
  }

  /** Critic `critic`'s output for the observation encoded (or normalised) last, in its normalised unit. */
  value(critic: number): number {
    let values = this.input
    const layers = this.critics[critic]
    for (let i = 0; i < layers.length; i++) {
      apply(layers[i], values, this.criticValues[i])
      if (i < layers.length - 1) tanhInPlace(this.criticValues[i])
      values = this.criticValues[i]
    }
    return values[0]
  }

  /** Normalises without encoding, where only a value is wanted. */
  normalise(observations: Float32Array, offset = 0): void {
    const { mean, scale, input, normalised } = this
    const clip = this.spec.observationClip
    for (let i = 0; i < input.length; i++) {
      const x = Math.fround(Math.fround(observations[offset + i] - mean[i]) * scale[i])
      normalised[i] = input[i] = x > clip ? clip : x < -clip ? -clip : x
    }
  }

  private exponentialOf(choice: number, choices: number): number {
    const total = this.exponentiate(choices)
    return this.exponentials[choice] / total
  }

  /** exponentials = exp(logits - max); returns their sum. */
  private exponentiate(choices: number): number {
    const { logits, exponentials } = this
    let largest = -Infinity
    for (let i = 0; i < choices; i++) if (logits[i] > largest) largest = logits[i]
    let total = 0
    for (let i = 0; i < choices; i++) {
      const value = logits[i] === -Infinity ? 0 : Math.exp(logits[i] - largest)
      exponentials[i] = value
      total += value
    }
    return total
  }
}

function apply(target: Layer, values: Float64Array, out: Float64Array): void {
  dense(values, target.weight, target.bias, out, target.inputs, target.outputs)
}

function layer(inputs: number, outputs: number): Layer {
  return { inputs, outputs, weight: new Float64Array(inputs * outputs), bias: new Float64Array(outputs) }
}

function chain(widths: readonly number[]): Layer[] {
  return widths.slice(1).map((width, i) => layer(widths[i], width))
}

/** [in, out] float32 -> [out, in] float64. */
function transpose(source: Float32Array, target: Layer): void {
  const { inputs, outputs, weight } = target
  for (let i = 0; i < inputs; i++)
    for (let o = 0; o < outputs; o++) weight[o * inputs + i] = source[i * outputs + o]
}
