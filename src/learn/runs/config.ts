import { z } from 'zod'
import { ppoConfigSchema } from '../ppo/config.ts'

export const TRAINING_SCHEMA = 'edgewise.training/1'

const positive = z.number().positive()

/** What `edgewise train` reads. */
export const trainingSchema = z.strictObject({
  schema: z.literal(TRAINING_SCHEMA),
  /** The scenario file, relative to this one. */
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
   * Discount over one mean time between arrivals, which sets ppo.discountRate to this times the scenario's
   * arrival rate: a queue's effects last for so many requests, however fast the device is. Null: as ppo says.
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

export type TrainingConfig = z.infer<typeof trainingSchema>

/** The config with everything that depends on the scenario filled in: what a run is made with. */
export function resolveTraining(training: TrainingConfig, meanRatePerSecond: number): TrainingConfig {
  const { discountPerRequest: perRequest } = training
  if (perRequest === null) return training
  const discountRate = {
    performance: perRequest.performance * meanRatePerSecond,
    stability: perRequest.stability * meanRatePerSecond,
  }
  return { ...training, ppo: { ...training.ppo, discountRate } }
}
