import { InputError, show } from '../../core/errors.ts'
import { loadModel } from '../../model/catalog.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { Network } from './network.ts'

/** The built-in model: small enough to train in minutes on one core, large enough to form sentences. */
export const TALES_MODEL: ModelSpec = loadModel('tales')

/** The built-in model with its early exits. */
export const TALES_NETWORK: Network = { model: TALES_MODEL, exitLayers: [2, 4] }

/** A part of the training with one window length. */
export interface Stage {
  /** Share of all steps that belong to this stage. */
  readonly share: number
  readonly batch: number
  readonly window: number
  /** Share of notes among the texts; the others are tales. */
  readonly noteShare: number
}

/** Settings of a training. */
export interface PretrainConfig {
  readonly seed: number
  /** Total number of optimiser steps. */
  readonly steps: number
  /**
   * Short windows and notes first. Recalling facts is what a model learns last, and it learns that from texts that
   * require little else; later stages require it over longer and longer tales.
   */
  readonly stages: readonly Stage[]
  readonly peakLearningRate: number
  /** Steps over which the learning rate rises from 0; afterwards it falls to `finalLearningRate` along a cosine. */
  readonly warmupSteps: number
  readonly finalLearningRate: number
  /** Weight of each exit's loss relative to the last layer's. */
  readonly exitWeight: number
  readonly maxGradientNorm: number
  readonly weightDecay: number
  readonly adamBeta1: number
  readonly adamBeta2: number
}

const DEFAULTS: PretrainConfig = {
  seed: 1,
  steps: 8000,
  stages: [
    { share: 0.5, batch: 8, window: 128, noteShare: 0.9 },
    { share: 0.3, batch: 4, window: 256, noteShare: 0.5 },
    { share: 0.2, batch: 2, window: 512, noteShare: 0.2 },
  ],
  peakLearningRate: 3e-3,
  warmupSteps: 200,
  finalLearningRate: 5e-5,
  exitWeight: 0.3,
  maxGradientNorm: 1,
  weightDecay: 0.05,
  adamBeta1: 0.9,
  adamBeta2: 0.98,
}

/** The settings of the shipped model, some of them replaced. Throws InputError for steps or a seed out of range. */
export function pretrainConfig(overrides: Partial<PretrainConfig> = {}): PretrainConfig {
  const config = { ...DEFAULTS, ...overrides }
  const within = (name: 'steps' | 'seed', low: number, high: number): void => {
    const value = config[name]
    if (Number.isInteger(value) && value >= low && value <= high) return
    throw new InputError({
      where: `pretrain: ${name}`,
      expected: `an integer in ${low}..${high}`,
      found: show(value),
    })
  }
  within('steps', 1, 10_000_000)
  within('seed', 0, Number.MAX_SAFE_INTEGER)
  return config
}

/** The stage of step `step` (from 0). */
export function stageAt({ stages, steps }: PretrainConfig, step: number): Stage {
  let end = 0
  for (const stage of stages) {
    end += stage.share * steps
    if (step < Math.round(end)) return stage
  }
  return stages[stages.length - 1]
}

/** Learning rate of step `step` (from 0): linear warm-up, then half a cosine (Loshchilov & Hutter 2017, eq. 5). */
export function learningRateAt(config: PretrainConfig, step: number): number {
  const { peakLearningRate, finalLearningRate, steps } = config
  const warmup = Math.min(config.warmupSteps, Math.ceil(steps / 2))
  if (step < warmup) return (peakLearningRate * (step + 1)) / warmup
  const progress = (step - warmup) / Math.max(1, steps - warmup)
  return finalLearningRate + 0.5 * (peakLearningRate - finalLearningRate) * (1 + Math.cos(Math.PI * progress))
}
