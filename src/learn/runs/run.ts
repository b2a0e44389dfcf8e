import { existsSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { packArchive, unpackArchive } from '../../core/archive.ts'
import { VectorPartition } from '../../../envs/partition.ts'
import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import { readCapped, writeAtomic } from '../../core/files.ts'
import { openLock } from '../../core/journal/lock.ts'
import { systemTimers, type Timers } from '../../core/timers.ts'
import { readConfig } from '../../core/schema.ts'
import type { Engine } from '../../core/engine/types.ts'
import { mean, runEpisode } from '../evaluate/episode.ts'
import { createTrainer, type Metrics, type Trainer } from '../ppo/ppo.ts'
import { LearnedPolicy } from '../../policy/actor/learned.ts'
import { openRunTracker } from '../trackers/tracker.ts'
import { loadScenario, resolveScenario, type Scenario, type ScenarioOverrides } from '../../sim/scenario/scenario.ts'
import { resolveTraining, trainingSchema, type TrainingConfig } from './config.ts'
import { RUN_FILES, createRunFolder, readRun, writePolicy } from './folder.ts'
import { calibrationWarning, lengthWarning, loadWarning } from './warning.ts'

const MAX_CHECKPOINT_BYTES = 1024 * 1024 * 1024

/** Clock, engine and callbacks of a run. */
export interface RunContext {
  readonly engine: Engine
  readonly clock: Clock
  /** Renew the run folder's lock; default: those of the event loop. */
  readonly timers?: Timers
  readonly versions: Record<string, string>
  readonly onUpdate?: (progress: RunProgress) => void
  /** Called before each update; true ends the run after a checkpoint. */
  readonly stopped?: () => boolean
  /** Called before the first update with each warning about profiles and load. */
  readonly onWarning?: (text: string) => void
}

/** State of a run after an update. */
export interface RunProgress {
  readonly update: number
  readonly totalUpdates: number
  readonly metrics: Metrics
  readonly validationCost: number | null
  readonly bestValidationCost: number | null
  readonly stepsPerSecond: number
}

/** Result of a run. */
export interface RunSummary {
  readonly folder: string
  readonly updates: number
  readonly decisions: number
  readonly bestUpdate: number | null
  readonly bestValidationCost: number | null
  readonly finished: boolean
}

/** Starts a run in folder `out` from a training config. */
export async function startRun(
  configPath: string,
  out: string,
  context: RunContext,
  overrides: ScenarioOverrides & { seed?: number; updates?: number } = {},
): Promise<RunSummary> {
  const read: TrainingConfig = readConfig(trainingSchema as never, configPath)
  const asked: TrainingConfig = {
    ...read,
    ppo: {
      ...read.ppo,
      seed: overrides.seed ?? read.ppo.seed,
      totalUpdates: overrides.updates ?? read.ppo.totalUpdates,
    },
  }
  const scenarioPath = resolve(dirname(configPath), asked.scenario)
  const scenario = await loadScenario(scenarioPath, overrides)
  const training = resolveTraining(asked, scenario.meanRatePerSecond)
  createRunFolder(out, scenario, training, relative(out, dirname(scenarioPath)), context.versions)
  return new Run(out, scenario, training, context).start(false)
}

/**
 * Continues a run exactly from its last checkpoint, also after kill -9. Throws InputError while another process trains
 * it.
 */
export async function resumeRun(out: string, context: RunContext): Promise<RunSummary> {
  const run = readRun(out)
  const scenario = await openRunScenario(out)
  return new Run(out, scenario, run.training, context).start(true)
}

/** Opens the scenario of a run with the profiles that the run used. */
export async function openRunScenario(out: string): Promise<Scenario> {
  const run = readRun(out)
  const scenario = await resolveScenario(run.scenario, resolve(out, run.folder), {
    edge: join(out, RUN_FILES.edge),
    cloud: join(out, RUN_FILES.cloud),
  })
  if (scenario.hash !== run.scenarioHash) {
    throw new InputError({
      where: join(out, RUN_FILES.run),
      expected: `the scenario and profiles it was made with (${run.scenarioHash.slice(0, 12)})`,
      found: scenario.hash.slice(0, 12),
      remedy: 'restore the files of the run folder, or start a new training',
    })
  }
  return scenario
}

/** Creates the environments of a training. */
export function trainingEnvironment(scenario: Scenario, training: TrainingConfig): VectorPartition {
  return new VectorPartition({
    problem: scenario.problem,
    terms: scenario.terms,
    reward: { ...training.reward, discountRate: training.ppo.discountRate.stability },
    count: training.environments,
    world: (seed) => scenario.world('train', seed),
  })
}

class Run {
  private readonly out: string
  private readonly scenario: Scenario
  private readonly training: TrainingConfig
  private readonly context: RunContext
  private best: { update: number; cost: number } | null = null

  constructor(out: string, scenario: Scenario, training: TrainingConfig, context: RunContext) {
    this.out = out
    this.scenario = scenario
    this.training = training
    this.context = context
  }

  /** Trains under the lock of the run folder: two processes would write over each other's checkpoints. */
  async start(resume: boolean): Promise<RunSummary> {
    const { clock, timers = systemTimers } = this.context
    const lock = openLock(join(this.out, RUN_FILES.lock), { clock, timers }, 'training')
    lock.acquire()
    try {
      return await this.train(resume)
    } finally {
      lock.release()
    }
  }

  private async train(resume: boolean): Promise<RunSummary> {
    const { training, context } = this
    const { scenario } = this
    const { profile } = scenario.problem.pair.edge
    const warnings = [calibrationWarning(profile), loadWarning(scenario), lengthWarning(scenario)]
    for (const warning of warnings) if (warning !== null) context.onWarning?.(warning)
    const trainer = await createTrainer(
      training.ppo,
      trainingEnvironment(this.scenario, training),
      context.engine,
      { clock: context.clock },
    )
    try {
      if (resume) this.load(trainer)
      const tracker = openRunTracker(this.out, { clock: context.clock, resumeAfterStep: trainer.updates })
      try {
        await this.loop(trainer, tracker)
      } finally {
        tracker.close()
      }
      return this.summary(trainer)
    } finally {
      await trainer.close()
    }
  }

  private async loop(trainer: Trainer, tracker: ReturnType<typeof openRunTracker>): Promise<void> {
    const { totalUpdates } = this.training.ppo
    while (trainer.updates < totalUpdates && this.context.stopped?.() !== true) {
      const began = this.context.clock.nowSeconds()
      const metrics = await trainer.update()
      const last = trainer.updates === totalUpdates
      const validationCost =
        last || trainer.updates % this.training.validation.everyUpdates === 0 ? this.validate(trainer) : null
      tracker.metrics(trainer.updates, { ...metrics, 'validation.cost': validationCost })
      const stepsPerSecond =
        (this.training.environments * this.training.ppo.stepsPerUpdate) /
        (this.context.clock.nowSeconds() - began)
      tracker.timings(trainer.updates, { ...trainer.timings, stepsPerSecond })
      if (last || trainer.updates % this.training.checkpointEveryUpdates === 0) {
        tracker.sync()
        this.save(trainer)
      }
      this.context.onUpdate?.({
        update: trainer.updates,
        totalUpdates,
        metrics,
        validationCost,
        bestValidationCost: this.best?.cost ?? null,
        stepsPerSecond,
      })
      // Lets signals and timers through between updates.
      await new Promise((done) => setImmediate(done))
    }
    tracker.sync()
    this.save(trainer)
  }

  /** Returns the mean cost of the greedy policy on validation episodes, and keeps the best policy so far. */
  private validate(trainer: Trainer): number {
    const numbers = trainer.policy
    const policy = new LearnedPolicy(this.scenario.problem, numbers)
    const seeds = Array.from({ length: this.training.validation.episodes }, (_, seed) => seed)
    const cost = mean(seeds.map((seed) => runEpisode(this.scenario, policy, 'validation', seed).cost))
    if (this.best === null || cost < this.best.cost) {
      this.best = { update: trainer.updates, cost }
      writePolicy(join(this.out, RUN_FILES.best), numbers, { update: trainer.updates, validationCost: cost })
    }
    return cost
  }

  private save(trainer: Trainer): void {
    const bytes = packArchive({ json: { best: this.best }, arrays: { trainer: trainer.checkpoint() } })
    writeAtomic(join(this.out, RUN_FILES.checkpoint), bytes)
  }

  private load(trainer: Trainer): void {
    const path = join(this.out, RUN_FILES.checkpoint)
    // The run was killed before its first checkpoint: start over.
    if (!existsSync(path)) return
    const { json, arrays } = unpackArchive(readCapped(path, MAX_CHECKPOINT_BYTES), path)
    this.best = (json as { best: { update: number; cost: number } | null }).best
    trainer.restore(arrays.trainer as Uint8Array, path)
  }

  private summary(trainer: Trainer): RunSummary {
    const { stepsPerUpdate, totalUpdates } = this.training.ppo
    return {
      folder: this.out,
      updates: trainer.updates,
      decisions: trainer.updates * stepsPerUpdate * this.training.environments,
      bestUpdate: this.best?.update ?? null,
      bestValidationCost: this.best?.cost ?? null,
      finished: trainer.updates === totalUpdates,
    }
  }
}
