/**
 * Many environments side by side in typed arrays, which the learner steps. An action is a fixed number of categorical
 * choices ("rows") taken in sequence. Row r belongs to a head; heads share parameters between their rows. Masks and
 * features of a row may depend on the rows chosen before it, so an action is built by a small synchronous protocol for
 * each environment:
 * beginAction(e)
 * for r in 0..rows-1: allowed = rowInput(e, r, features, mask); choose(e, r, choice)
 * step(e)
 * A row with exactly one allowed choice is forced: log-probability 0, no gradient, no network call. An environment
 * whose episode ends is reset within the same step (Gymnasium's SAME_STEP): `observations` then holds the first
 * observation of the next episode and `finalObservations` the last one of the old.
 */

/** Choices that share their parameters in the actor. */
export interface HeadSpec {
  readonly name: string
  /** Number of choices C, at least 1. */
  readonly choices: number
  /** Whether rows of this head use the row features (otherwise only the encoded observation). */
  readonly usesRowFeatures: boolean
  /** Whether a choice of this head can ever be masked. */
  readonly masked: boolean
  /** Initial linear term, logits += features x bias, [S, C] row-major, trainable; absent: zeros. */
  readonly initialBias?: Float32Array
}

/** The shape of an action, from which an actor is built. */
export interface ActionSpec {
  readonly heads: readonly HeadSpec[]
  /** Head index of each row; its length is the number of rows R. */
  readonly headOf: readonly number[]
  /** Width S of a row's features; 0 if no head uses them. */
  readonly rowFeatureSize: number
}

/** A vector environment. */
export interface VectorEnv {
  /** Id of the environment with its version, stored in checkpoints. */
  readonly id: string
  /** Number of environments N. */
  readonly count: number
  /** Observation width D. */
  readonly observationSize: number
  readonly action: ActionSpec

  /** [N, D]: the observation on which each environment acts next. */
  readonly observations: Float32Array
  /** [N, D]: the last observation of the episode that just ended; valid where terminated or truncated. */
  readonly finalObservations: Float32Array
  /** [N]: rewards of the last step for each critic. An environment with one reward leaves stability 0. */
  readonly performance: Float64Array
  readonly stability: Float64Array
  /** [N]: duration of the last step in seconds; the discount is e^(-beta tau). */
  readonly tauSeconds: Float64Array
  /** [N]: 1 where the last step ended the episode: by its own rules, or by an outside limit. */
  readonly terminated: Uint8Array
  readonly truncated: Uint8Array

  /** Restarts all environments, each with its own stream under `seed`. */
  reset(seed: number): void
  beginAction(env: number): void
  /**
   * Writes the features (first S values) and the mask (first C values, 1 = allowed) of row `row`, given the rows chosen
   * so far. Returns the number of allowed choices, at least 1.
   */
  rowInput(env: number, row: number, featuresOut: Float32Array, maskOut: Uint8Array): number
  choose(env: number, row: number, choice: number): void
  /** Applies the chosen action; writes row `env` of all arrays above. */
  step(env: number): void

  /** The complete state of all environments (including random streams and running episodes). */
  save(): Uint8Array
  /** Continues exactly from the bytes of `save()`. Throws InputError for bytes of another environment. */
  restore(bytes: Uint8Array): void
}

/** The largest number of choices over all heads: the length of a mask buffer. */
export function maxChoices(action: ActionSpec): number {
  return action.heads.reduce((most, head) => Math.max(most, head.choices), 1)
}

/** Rows of each head, in order: rowsOf(action)[h] lists the rows of head h. */
export function rowsOf(action: ActionSpec): number[][] {
  const rows: number[][] = action.heads.map(() => [])
  action.headOf.forEach((head, row) => rows[head].push(row))
  return rows
}
