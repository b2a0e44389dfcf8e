import { parameterOf } from '../../core/onnx/parameters.ts'
import { actorLayout } from './actor.ts'
import type { ActorSpec, Normaliser } from './actor.ts'
import { kernelMath } from './kernelMath.ts'
import type { KernelMath } from './kernelMath.ts'

/** A dense layer: byte addresses of weights [in, out] and bias [out], with out padded to a multiple of 4. */
interface Layer {
  readonly inputs: number
  readonly outputs: number
  readonly padded: number
  readonly weight: number
  readonly bias: number
}

/** A float32 vector: its address and a view of it. */
interface Vector {
  readonly address: number
  readonly end: number
  readonly values: Float32Array
}

interface Head {
  readonly hidden: Layer | null
  readonly row: Layer | null
  readonly out: Layer
  readonly prior: Layer | null
  /** [hidden]: h Wh + bh of the current decision; for a linear head [C]: h Wo + bo. */
  readonly base: Vector
}

/**
 * Actor and critics without an ONNX session, for rollouts and the runtime. A decision is `encode`, then `sample` or
 * `greedy` for each row; everything that depends only on the observation is computed once. Nothing is allocated after
 * construction. float32; agrees with the ONNX graph within 1e-5.
 */
export class ActorKernel {
  readonly spec: ActorSpec
  /** [D]: the observation last encoded or normalised. */
  readonly normalised: Float32Array
  /** [maxChoices]: logits of the last row; -Infinity where masked. */
  readonly logits: Float32Array
  /** Log-probability of the last choice. */
  logProbability = 0
  private readonly mean: Float32Array
  private readonly scale: Float32Array
  private readonly memory: ArrayBuffer
  private readonly math: KernelMath
  private readonly input: Vector
  private readonly output: Vector
  private readonly row: Vector
  private readonly hiddenRow: Vector
  private readonly encoder: readonly Layer[]
  private readonly encoded: readonly Vector[]
  private readonly heads: readonly Head[]
  private readonly critics: readonly (readonly Layer[])[]
  private readonly criticValues: readonly Vector[]
  private readonly exponentials: Float64Array

  constructor(spec: ActorSpec) {
    const { observationSize, rowFeatureSize } = spec
    const choices = Math.max(...spec.heads.map((head) => head.choices))
    const encoded = spec.encoder[spec.encoder.length - 1]
    // Addresses are assigned first, then one block of memory is allocated for all.
    let bytes = 0
    const reserve = (floats: number): number => (bytes += align(floats) * 4) - align(floats) * 4
    const plan = (inputs: number, outputs: number): Layer => {
      const padded = align(outputs)
      return { inputs, outputs, padded, weight: reserve(inputs * padded), bias: reserve(padded) }
    }
    const chain = (widths: readonly number[]): Layer[] =>
      widths.slice(1).map((width, i) => plan(widths[i], width))
    const planned: [address: number, floats: number][] = []
    const vector = (floats: number): number => planned.push([reserve(floats), floats]) - 1
    const encoder = chain([observationSize, ...spec.encoder])
    const critics = spec.critics.map(() => chain([observationSize, ...spec.criticHidden, 1]))
    const heads = spec.heads.map((head) => ({
      hidden: head.hidden > 0 ? plan(encoded, head.hidden) : null,
      row: head.hidden > 0 && head.usesRowFeatures ? plan(rowFeatureSize, head.hidden) : null,
      out: plan(head.hidden > 0 ? head.hidden : encoded, head.choices),
      prior: head.usesRowFeatures ? plan(rowFeatureSize, head.choices) : null,
      base: vector(head.hidden > 0 ? head.hidden : head.choices),
    }))
    const single = [
      observationSize,
      choices,
      rowFeatureSize,
      Math.max(1, ...spec.heads.map((head) => head.hidden)),
    ].map(vector)
    const encodedAt = spec.encoder.map(vector)
    const criticAt = [...spec.criticHidden, 1].map(vector)
    const { math, memory } = kernelMath(bytes)
    const vectors = planned.map(([address, floats]): Vector => {
      return { address, end: address + align(floats) * 4, values: new Float32Array(memory, address, floats) }
    })
    this.spec = spec
    this.math = math
    this.memory = memory
    this.encoder = encoder
    this.critics = critics
    this.heads = heads.map((head) => ({ ...head, base: vectors[head.base] }))
    ;[this.input, this.output, this.row, this.hiddenRow] = single.map((index) => vectors[index])
    this.encoded = encodedAt.map((index) => vectors[index])
    this.criticValues = criticAt.map((index) => vectors[index])
    this.normalised = this.input.values
    this.logits = this.output.values
    this.exponentials = new Float64Array(choices)
    this.mean = new Float32Array(observationSize)
    this.scale = new Float32Array(observationSize).fill(1)
  }

  /** Copies parameters (the flat vector) and the normaliser into the kernel. */
  load(parameters: Float32Array, normaliser: Normaliser): void {
    const layout = actorLayout(this.spec)
    const get = (name: string): Float32Array => parameterOf(layout, parameters, name)
    const fill = (target: Layer | null, weight: string, bias?: string): void => {
      if (target === null) return
      this.place(get(weight), target)
      if (bias !== undefined) new Float32Array(this.memory, target.bias, target.outputs).set(get(bias))
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

  /** Normalises and encodes observation [offset, offset + D); the decision's rows follow. */
  encode(observations: Float32Array, offset = 0): void {
    this.normalise(observations, offset)
    let values = this.input
    for (let i = 0; i < this.encoder.length; i++) {
      values = this.apply(this.encoder[i], values, this.encoded[i])
      this.math.tanh(values.address, values.end)
    }
    for (const head of this.heads) this.apply(head.hidden ?? head.out, values, head.base)
  }

  /**
   * Writes the logits of a row of `head` for the encoded observation; masked choices get -Infinity. `features` (first S
   * values) and `mask` (first C) are ignored if the head does not use them.
   */
  computeLogits(head: number, features: Float32Array, mask: Uint8Array): void {
    const { math, logits, output, hiddenRow } = this
    const { hidden, row, out, prior, base } = this.heads[head]
    const { choices, masked } = this.spec.heads[head]
    if (prior !== null) {
      const values = this.row.values
      for (let i = 0; i < values.length; i++) values[i] = features[i]
    }
    if (hidden === null) {
      for (let i = 0; i < choices; i++) logits[i] = base.values[i]
    } else {
      if (row === null) for (let i = 0; i < hidden.outputs; i++) hiddenRow.values[i] = base.values[i]
      else math.dense(this.row.address, row.weight, base.address, hiddenRow.address, row.inputs, row.padded)
      math.tanh(hiddenRow.address, hiddenRow.address + hidden.padded * 4)
      this.apply(out, hiddenRow, output)
    }
    if (prior !== null) {
      math.dense(this.row.address, prior.weight, output.address, output.address, prior.inputs, prior.padded)
    }
    if (masked) for (let i = 0; i < choices; i++) if (mask[i] === 0) logits[i] = -Infinity
  }

  /**
   * Samples a choice with the inverse distribution function: the first whose cumulative probability exceeds `uniform`.
   */
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

  /** The choice with the largest logit; the lowest index on a tie. */
  greedy(head: number, features: Float32Array, mask: Uint8Array): number {
    this.computeLogits(head, features, mask)
    const { choices } = this.spec.heads[head]
    let best = 0
    for (let i = 1; i < choices; i++) if (this.logits[i] > this.logits[best]) best = i
    this.logProbability = Math.log(this.exponentialOf(best, choices))
    return best
  }

  /** Log-probability of `choice` in the row whose logits were computed last. */
  logProbabilityOf(head: number, choice: number): number {
    return Math.log(this.exponentialOf(choice, this.spec.heads[head].choices))
  }

  /** Output of critic `critic`, in its normalised unit, for the observation last encoded or normalised. */
  value(critic: number): number {
    let values = this.input
    const layers = this.critics[critic]
    for (let i = 0; i < layers.length; i++) {
      values = this.apply(layers[i], values, this.criticValues[i])
      if (i < layers.length - 1) this.math.tanh(values.address, values.end)
    }
    return values.values[0]
  }

  /** Normalises an observation without encoding it, if only a value is needed. */
  normalise(observations: Float32Array, offset = 0): void {
    const { mean, scale, normalised } = this
    const clip = this.spec.observationClip
    for (let i = 0; i < normalised.length; i++) {
      const x = Math.fround(Math.fround(observations[offset + i] - mean[i]) * scale[i])
      normalised[i] = x > clip ? clip : x < -clip ? -clip : x
    }
  }

  private apply(layer: Layer, x: Vector, out: Vector): Vector {
    this.math.dense(x.address, layer.weight, layer.bias, out.address, layer.inputs, layer.padded)
    return out
  }

  /** Copies weights [in, out] into rows padded to whole SIMD vectors. */
  private place(source: Float32Array, { inputs, outputs, padded, weight }: Layer): void {
    const target = new Float32Array(this.memory, weight, inputs * padded)
    if (padded === outputs) target.set(source)
    else
      for (let i = 0; i < inputs; i++) target.set(source.subarray(i * outputs, (i + 1) * outputs), i * padded)
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

/** Rounds up to whole 128-bit vectors. */
function align(floats: number): number {
  return Math.ceil(floats / 4) * 4
}
