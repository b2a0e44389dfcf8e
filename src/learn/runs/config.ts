import { z } from 'zod'
import { ppoConfigSchema } from '../ppo/config.ts'

/** Name and version of the training config's format. */
const TRAINING_SCHEMA = 'edgewise.training/1'

const positive = z.number().positive()

/** Schema of the file that `edgewise train` reads. */
export const trainingSchema = z.strictObject({
  schema: z.literal(TRAINING_SCHEMA),
  /** Path of the scenario, relative to this file. */
  scenario: z.string().min(1),
  environments: z.int().min(1).max(1024).default(16),
  reward: z
    .strictObject({
      form: z.enum(['paper', 'dpp', 'shaped']).default('shaped'),
      v: positive.default(1),
      holding: z.number().min(0).default(0),
      scales: z
        .strictObject({ requests: positive, uplinkBytes: positive, cloudSeconds: positive })
        .default({ requests: 5, uplinkBytes: 1e6, cloudSeconds: 10 }),
    })
    .prefault({}),
  /**
   * Discount over one mean interarrival time; sets ppo.discountRate to this times the scenario's arrival rate, so that
   * a queue's effects last for a number of requests, however fast the device is. Null: ppo.discountRate is used.
   */
  discountPerRequest: z
    .strictObject({ performance: z.number().min(0), stability: z.number().min(0) })
    .nullable()
    .default(null),
  ppo: ppoConfigSchema,
  validation: z
    .strictObject({
      /** Updates between two validations; the last update is always validated. */
      everyUpdates: z.int().min(1).default(10),
      episodes: z.int().min(1).default(8),
    })
    .prefault({}),
  /** Updates between two checkpoints. */
  checkpointEveryUpdates: z.int().min(1).default(10),
})

/** A training config. */
export type TrainingConfig = z.infer<typeof trainingSchema>

/** Fills in everything that depends on the scenario: the config that a run uses. */
export function resolveTraining(training: TrainingConfig, meanRatePerSecond: number): TrainingConfig {
  const { discountPerRequest: perRequest } = training
  if (perRequest === null) return training
  const discountRate = {
    performance: perRequest.performance * meanRatePerSecond,
    stability: perRequest.stability * meanRatePerSecond,
  }
  return { ...training, ppo: { ...training.ppo, discountRate } }
}
