export { ppoConfigSchema } from './config.ts'
export type { PpoConfig, PpoSettings } from './config.ts'
export { createTrainer } from './ppo.ts'
export type { Metrics, PolicySnapshot, Trainer, TrainerOptions } from './ppo.ts'
