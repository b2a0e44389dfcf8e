import { z } from 'zod'
import { InputError } from '../../core/errors.ts'

const positive = z.number().positive()
const fraction = z.number().min(0).max(1)
const whole = z.number().int().min(1)
const width = z.number().int().min(1).max(4096)

/** A constant, or a number that changes linearly from `from` to `to` during the training. */
const schedule = z
  .union([z.number().min(0), z.strictObject({ from: z.number().min(0), to: z.number().min(0) })])
  .transform((value) => (typeof value === 'number' ? { from: value, to: value } : value))

/** A coefficient as a function of training progress. */
type Schedule = z.output<typeof schedule>

/** One value for both critics, or one for each. */
function perCritic<T extends z.ZodType<number>>(value: T) {
  return z
    .union([value, z.strictObject({ performance: value, stability: value })])
    .transform((given): { performance: number; stability: number } =>
      typeof given === 'number' ? { performance: given, stability: given } : (given as never),
    )
}

/** Settings of a training. Defaults are those of CleanRL's PPO where it has them. */
export const ppoConfigSchema = z.strictObject({
  /** Seed of every random stream of the training. */
  seed: z.number().int().min(0).default(1),
  /** Number of updates; schedules reach their end value after these. */
  totalUpdates: whole,
  /** Decisions per environment in each update (T). */
  stepsPerUpdate: whole.default(128),
  /** Decisions per gradient step; must divide T x N. */
  minibatch: whole.default(256),
  /** Passes over each rollout. */
  epochs: whole.default(4),
  learningRate: schedule.prefault(2.5e-4),
  /** Entropy bonus: one value for all heads, or by head name (0 for heads that are not named). */
  entropy: z.union([schedule, z.record(z.string(), schedule)]).prefault(0.01),
  clipRange: positive.default(0.2),
  /** Clip range of value changes in the critics' normalised unit; null: no clipping. */
  valueClip: positive.nullable().default(null),
  valueCoefficient: positive.default(0.5),
  maxGradientNorm: positive.default(0.5),
  /** Ends the epochs of an update when an epoch's mean KL estimate exceeds this; null: never. */
  targetKl: positive.nullable().default(null),
  /** Discount rate beta per second: a reward tau seconds later counts e^(-beta tau). */
  discountRate: perCritic(z.number().min(0)).prefault(0.01),
  /** GAE's lambda, per decision. */
  lambda: perCritic(fraction).prefault(0.95),
  /** Advantage = advantage of performance + this x advantage of stability, in units of reward. */
  stabilityWeight: z.number().min(0).default(1),
  /** False: one critic for performance + stabilityWeight x stability (an ablation, or for a single reward). */
  dualCritics: z.boolean().default(true),
  /** Widths of the tanh layers of encoder and critics, and of the layer step. */
  encoder: z.array(width).min(1).default([64, 64]),
  criticHidden: z.array(width).min(1).default([64, 64]),
  rowHidden: width.default(64),
  normaliseObservations: z.boolean().default(true),
  observationClip: positive.default(10),
  normaliseReturns: z.boolean().default(true),
  /** Weight of a new rollout in the return scale, after the first 1 / rate updates. */
  returnRate: fraction.default(0.05),
  adamBeta1: fraction.default(0.9),
  adamBeta2: fraction.default(0.999),
  adamEpsilon: positive.default(1e-5),
})

/** Settings as a user writes them. */
export type PpoSettings = z.input<typeof ppoConfigSchema>
/** Settings with all defaults filled in. */
export type PpoConfig = z.output<typeof ppoConfigSchema>

/** The value of a schedule after `done` of `total` updates. */
export function scheduled({ from, to }: Schedule, done: number, total: number): number {
  return from + (to - from) * Math.min(1, done / total)
}

/** The entropy schedule of a head; 0 for a head that is not named where others are. */
export function entropySchedule({ entropy }: PpoConfig, head: string): Schedule {
  return isSchedule(entropy) ? entropy : (entropy[head] ?? { from: 0, to: 0 })
}

/** Throws InputError for entropy settings of heads that the environment does not have. */
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
