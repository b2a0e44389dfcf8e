import { randomStream } from '../../core/random.ts'
import type { RandomStream } from '../../core/random.ts'
import { layoutParameters, parameterOf } from '../../core/onnx/parameters.ts'
import type { ParameterLayout } from '../../core/onnx/parameters.ts'
import type { ActionSpec } from '../action/vectorEnv.ts'

/** One head of the actor, as stored in a checkpoint or a bundle. */
export interface ActorHead {
  readonly name: string
  /** Number of choices C. */
  readonly choices: number
  readonly masked: boolean
  readonly usesRowFeatures: boolean
  /** Width of the head's hidden tanh layer; 0: the head is linear. */
  readonly hidden: number
}

/**
 * The shape of actor and critics, as plain data. The encoder is an MLP observation -> h (tanh). The logits of a head,
 * with the row features s and the prior matrix P [S, C], are:
 * - hidden = 0: h Wo + bo + s P
 * - hidden > 0: tanh(h Wh + s Ws + bh) Wo + bo + s P
 * (without s if the head does not use it). Each critic is an MLP of its own from the normalised observation to one
 * value.
 */
export interface ActorSpec {
  readonly observationSize: number
  /** Normalised observations are clipped to +- this. */
  readonly observationClip: number
  /** Widths of the encoder's layers, at least one. */
  readonly encoder: readonly number[]
  readonly heads: readonly ActorHead[]
  /** Head index of each row, as in ActionSpec. */
  readonly headOf: readonly number[]
  readonly rowFeatureSize: number
  readonly critics: readonly string[]
  readonly criticHidden: readonly number[]
}

/** normalised = clip((observation - mean) * scale, +-clip), in float32. */
export interface Normaliser {
  /** [D] */
  readonly mean: Float32Array
  /** [D], 1 / standard deviation. */
  readonly scale: Float32Array
}

/** Position of each named parameter in the flat vector: the actor's first, then the critics'. */
export interface ActorLayout extends ParameterLayout {
  /** Number of parameters of encoder and heads, which come first in the vector. */
  readonly actorSize: number
}

/**
 * Creates the shape of an actor for an environment's action. Hidden widths of heads are given by name (default
 * `rowHidden`, 0 without row features).
 */
export function actorSpec(
  observationSize: number,
  action: ActionSpec,
  sizes: {
    encoder: readonly number[]
    rowHidden: number
    critics: readonly string[]
    criticHidden: readonly number[]
    observationClip?: number
  },
): ActorSpec {
  return {
    observationSize,
    observationClip: sizes.observationClip ?? 10,
    encoder: [...sizes.encoder],
    heads: action.heads.map(({ name, choices, masked, usesRowFeatures }) => ({
      name,
      choices,
      masked,
      usesRowFeatures,
      hidden: usesRowFeatures ? sizes.rowHidden : 0,
    })),
    headOf: [...action.headOf],
    rowFeatureSize: action.rowFeatureSize,
    critics: [...sizes.critics],
    criticHidden: [...sizes.criticHidden],
  }
}

/** The flat layout of an actor's parameters. Weights are [in, out], row-major. */
export function actorLayout(spec: ActorSpec): ActorLayout {
  const specs: { name: string; dims: readonly number[] }[] = []
  const add = (name: string, ...dims: number[]): void => void specs.push({ name, dims })
  const mlp = (prefix: string, widths: readonly number[]): void => {
    for (let i = 1; i < widths.length; i++) {
      add(`${prefix}.${i - 1}.weight`, widths[i - 1], widths[i])
      add(`${prefix}.${i - 1}.bias`, widths[i])
    }
  }
  mlp('encoder', [spec.observationSize, ...spec.encoder])
  const encoded = spec.encoder[spec.encoder.length - 1]
  for (const head of spec.heads) {
    const prefix = `head.${head.name}`
    if (head.hidden > 0) {
      add(`${prefix}.hidden.weight`, encoded, head.hidden)
      // Directly after the hidden layer's weights, so that [hidden.weight; row.weight] is one matrix [h + S, hidden].
      if (head.usesRowFeatures) add(`${prefix}.row.weight`, spec.rowFeatureSize, head.hidden)
      add(`${prefix}.hidden.bias`, head.hidden)
    }
    add(`${prefix}.out.weight`, head.hidden > 0 ? head.hidden : encoded, head.choices)
    add(`${prefix}.out.bias`, head.choices)
    if (head.usesRowFeatures) add(`${prefix}.prior.weight`, spec.rowFeatureSize, head.choices)
  }
  const actorSize = layoutParameters(specs).size
  for (const critic of spec.critics) mlp(`critic.${critic}`, [spec.observationSize, ...spec.criticHidden, 1])
  return { ...layoutParameters(specs), actorSize }
}

/**
 * Initial parameters: orthogonal weights with the gains of CleanRL's PPO (sqrt 2 for hidden layers, 0.01 for policy
 * outputs), zero biases, priors from the environment (zeros if it has none). The critics' output is exactly 0 at first:
 * the scale of the rewards is unknown, and a random output would hide small rewards.
 */
export function initialParameters(spec: ActorSpec, action: ActionSpec, seed: number): Float32Array {
  const layout = actorLayout(spec)
  const parameters = new Float32Array(layout.size)
  const get = (name: string): Float32Array => parameterOf(layout, parameters, name)
  const fill = (name: string, inputs: number, outputs: number, gain: number): void => {
    const view = layout.entries.find((candidate) => candidate.name === name)!
    const target = parameters.subarray(view.offset, view.offset + inputs * outputs)
    orthogonal(target, inputs, outputs, gain, randomStream(seed, `initial/${name}`))
  }
  const mlp = (prefix: string, widths: readonly number[], last: number): void => {
    for (let i = 1; i < widths.length; i++) {
      fill(`${prefix}.${i - 1}.weight`, widths[i - 1], widths[i], i === widths.length - 1 ? last : Math.SQRT2)
    }
  }
  mlp('encoder', [spec.observationSize, ...spec.encoder], Math.SQRT2)
  const encoded = spec.encoder[spec.encoder.length - 1]
  spec.heads.forEach((head, index) => {
    const rows = head.usesRowFeatures ? spec.rowFeatureSize : 0
    if (head.hidden > 0) fill(`head.${head.name}.hidden.weight`, encoded + rows, head.hidden, Math.SQRT2)
    fill(`head.${head.name}.out.weight`, head.hidden > 0 ? head.hidden : encoded, head.choices, 0.01)
    const bias = action.heads[index].initialBias
    if (bias !== undefined && head.usesRowFeatures) get(`head.${head.name}.prior.weight`).set(bias)
  })
  for (const critic of spec.critics)
    mlp(`critic.${critic}`, [spec.observationSize, ...spec.criticHidden, 1], 0)
  return parameters
}

/** Fills `out` [rows, columns] with gain x a matrix whose shorter side is orthonormal (Saxe et al. 2014). */
export function orthogonal(
  out: Float32Array,
  rows: number,
  columns: number,
  gain: number,
  stream: RandomStream,
): void {
  const [long, short] = rows >= columns ? [rows, columns] : [columns, rows]
  const vectors = Array.from({ length: short }, () =>
    Float64Array.from({ length: long }, () => stream.normal()),
  )
  for (let i = 0; i < short; i++) {
    // Two passes are enough (Kahan): the second removes the first one's rounding errors.
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) addScaled(vectors[i], vectors[j], -dot(vectors[i], vectors[j]))
    }
    const norm = Math.sqrt(dot(vectors[i], vectors[i]))
    for (let k = 0; k < long; k++) vectors[i][k] /= norm
  }
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      out[row * columns + column] = gain * (rows >= columns ? vectors[column][row] : vectors[row][column])
    }
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

function addScaled(target: Float64Array, source: Float64Array, factor: number): void {
  for (let i = 0; i < target.length; i++) target[i] += factor * source[i]
}
