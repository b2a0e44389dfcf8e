import { z } from 'zod'
import { InputError } from '../../core/errors.ts'

const positive = z.number().positive()
const fraction = z.number().min(0).max(1)
const whole = z.number().int().min(1)
const width = z.number().int().min(1).max(4096)

/** A number, or one that moves linearly from `from` to `to` over the training. */
const schedule = z
  .union([z.number().min(0), z.strictObject({ from: z.number().min(0), to: z.number().min(0) })])
  .transform((value) => (typeof value === 'number' ? { from: value, to: value } : value))

export type Schedule = z.output<typeof schedule>

/** One value for both critics, or one for each. */
function perCritic<T extends z.ZodType<number>>(value: T) {
  return z
    .union([value, z.strictObject({ performance: value, stability: value })])
    .transform((given): { performance: number; stability: number } =>
      typeof given === 'number' ? { performance: given, stability: given } : (given as never),
    )
}

/** Settings of a training; the defaults are those of CleanRL's PPO where it has them. */
export const ppoConfigSchema = z.strictObject({
  /** Seed of every random stream of the training. */
  seed: z.number().int().min(0).default(1),
  /** Updates over which the schedules run. */
  totalUpdates: whole,
  /** Decisions per environment and update (T). */
  stepsPerUpdate: whole.default(128),
  /** Decisions per gradient step; divides T x N. */
  minibatch: whole.default(256),
  /** Passes over each rollout. */
  epochs: whole.default(4),
  learningRate: schedule.prefault(2.5e-4),
  /** Entropy bonus, one for all heads or by head name (0 for heads not named). */
  entropy: z.union([schedule, z.record(z.string(), schedule)]).prefault(0.01),
  clipRange: positive.default(0.2),
  /** Clip range of values in the critics' normalised unit; null: none. */
  valueClip: positive.nullable().default(null),
  valueCoefficient: positive.default(0.5),
  maxGradientNorm: positive.default(0.5),
  /** Stops the epochs of an update once an epoch's mean KL estimate exceeds this; null: never. */
  targetKl: positive.nullable().default(null),
  /** Discount rate beta per second: a reward tau seconds ahead counts e^(-beta tau). */
  discountRate: perCritic(z.number().min(0)).prefault(0.01),
  /** GAE's lambda, per decision. */
  lambda: perCritic(fraction).prefault(0.95),
  /** Advantage = performance's + this x stability's, in units of reward. */
  stabilityWeight: z.number().min(0).default(1),
  /** false: one critic of performance + stabilityWeight x stability (an ablation; or for a single reward). */
  dualCritics: z.boolean().default(true),
  /** Widths of the encoder's and the critics' tanh layers, and of the layer step's. */
  encoder: z.array(width).min(1).default([64, 64]),
  criticHidden: z.array(width).min(1).default([64, 64]),
  rowHidden: width.default(64),
  normaliseObservations: z.boolean().default(true),
  observationClip: positive.default(10),
  normaliseReturns: z.boolean().default(true),
  /** Share of a new rollout in the return scale, after the first 1 / rate updates. */
  returnRate: fraction.default(0.05),
  adamBeta1: fraction.default(0.9),
  adamBeta2: fraction.default(0.999),
  adamEpsilon: positive.default(1e-5),
})

/** As a user writes it. */
export type PpoSettings = z.input<typeof ppoConfigSchema>
/** With all defaults filled in. */
export type PpoConfig = z.output<typeof ppoConfigSchema>

/** The value of a schedule after `done` of `total` updates. */
export function scheduled({ from, to }: Schedule, done: number, total: number): number {
  return from + (to - from) * Math.min(1, done / total)
}

/** The entropy schedule of a head; 0 for one that is not named where others are. */
export function entropySchedule({ entropy }: PpoConfig, head: string): Schedule {
  return isSchedule(entropy) ? entropy : (entropy[head] ?? { from: 0, to: 0 })
}

/** Refuses entropy settings for heads the environment does not have. */
export function checkEntropyHeads({ entropy }: PpoConfig, heads: readonly string[]): void {
  const stranger = isSchedule(entropy)
    ? undefined
    : Object.keys(entropy).find((name) => !heads.includes(name))
  if (stranger === undefined) return
  const where = 'training settings: entropy'
  throw new InputError({ where, expected: `heads among ${heads.join(', ')}`, found: stranger })
}

function isSchedule(value: Schedule | Record<string, Schedule>): value is Schedule {
  return typeof value.from === 'number'
}
