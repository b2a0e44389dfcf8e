import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { checkWritable } from '../../core/fileErrors.ts'
import { readCapped, writeAtomic } from '../../core/files.ts'
import type { Engine, EngineInfo } from '../../core/engine/types.ts'
import { openPretrained } from '../../model/weights/open.ts'
import { writeLlamaDirectory } from '../../model/weights/writeDirectory.ts'
import { stateBytesLimit } from './checkpoint.ts'
import { TALES_NETWORK, pretrainConfig } from './config.ts'
import type { PretrainConfig } from './config.ts'
import { evaluate } from './evaluate.ts'
import type { HeadQuality } from './evaluate.ts'
import { networkLayout } from './network.ts'
import type { Network } from './network.ts'
import { BEGIN_ID, END_ID, tales } from './text.ts'
import { talesTokenizer } from './tokenizerJson.ts'
import { Pretrainer } from './trainer.ts'
import type { StepReport } from './trainer.ts'
import { parametersOf, sourceOf } from './weights.ts'

/** Checkpoint of a training that was stopped; deleted when the training is finished. */
export const CHECKPOINT_FILE = 'training.checkpoint'
/** What was trained and how well it predicts: a PretrainSummary. */
export const SUMMARY_FILE = 'training.json'

/** Tales of the validation split on which a finished model is measured. */
const VALIDATION_TALES = 256
/** Steps between checkpoints: a fraction of a minute. */
const CHECKPOINT_STEPS = 100

/** Options of `pretrain`. */
interface PretrainOptions {
  readonly engine: Engine
  readonly folder: string
  readonly steps?: number
  readonly seed?: number
  /** Continues from the checkpoint in the folder. */
  readonly resume?: boolean
  /** Called between steps; true writes a checkpoint and ends the training unfinished. */
  readonly stopped?: () => boolean
  readonly onStep?: (report: StepReport, total: number) => void
  /** The network and the number of validation tales; for tests. */
  readonly network?: Network
  readonly validationTales?: number
}

/** Result of a finished training. Deterministic: equal settings and engine give equal summaries. */
export interface PretrainSummary {
  readonly finished: true
  readonly parameters: number
  readonly config: PretrainConfig
  readonly engine: EngineInfo
  readonly validationTales: number
  /**
   * Each exit, then the last layer: with the float32 weights of the training, and with the rounded weights that were
   * written.
   */
  readonly float32: readonly HeadQuality[]
  readonly float16: readonly HeadQuality[]
}

/** Result of a training that was stopped. */
export interface PretrainStopped {
  readonly finished: false
  readonly step: number
  readonly steps: number
}

/**
 * Trains the built-in model and writes it as a Hugging Face directory (F16, with exits and tokenizer). Equal settings
 * and engine give equal bytes, with or without interruption. Throws InputError if a checkpoint is missing, or exists
 * and was not asked for.
 */
export async function pretrain(options: PretrainOptions): Promise<PretrainSummary | PretrainStopped> {
  const { engine, folder, network = TALES_NETWORK } = options
  const config = pretrainConfig({
    ...(options.steps === undefined ? {} : { steps: options.steps }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
  })
  const checkpoint = join(folder, CHECKPOINT_FILE)
  checkWritable(folder)
  requireCheckpoint(checkpoint, options.resume === true)
  const trainer = new Pretrainer(network, config, engine)
  try {
    if (options.resume === true) {
      const limit = stateBytesLimit(networkLayout(network).size)
      trainer.restore(readCapped(checkpoint, limit), checkpoint)
    }
    await train(trainer, checkpoint, options)
  } finally {
    await trainer.close()
  }
  if (!trainer.finished) return { finished: false, step: trainer.step, steps: config.steps }
  const count = options.validationTales ?? VALIDATION_TALES
  const summary = await finish(trainer, folder, engine, count)
  rmSync(checkpoint, { force: true })
  return summary
}

function requireCheckpoint(path: string, wanted: boolean): void {
  if (existsSync(path) === wanted) return
  throw new InputError({
    where: path,
    expected: wanted
      ? 'the checkpoint of a training that was stopped'
      : 'no training under way in this folder',
    found: wanted ? 'none' : 'a checkpoint',
    remedy: wanted ? 'start without --resume' : 'continue with --resume, or delete it',
  })
}

/** Trains until finished or stopped; then the checkpoint on disk is the current state. */
async function train(trainer: Pretrainer, checkpoint: string, options: PretrainOptions): Promise<void> {
  while (!trainer.finished && options.stopped?.() !== true) {
    const report = await trainer.advance()
    options.onStep?.(report, trainer.config.steps)
    if (report.step % CHECKPOINT_STEPS === 0) writeAtomic(checkpoint, trainer.checkpoint())
  }
  writeAtomic(checkpoint, trainer.checkpoint())
}

/** Measures the float32 weights, writes them rounded, and measures what was written. */
async function finish(
  trainer: Pretrainer,
  folder: string,
  engine: Engine,
  validationTales: number,
): Promise<PretrainSummary> {
  const { network, config, parameters } = trainer
  const texts = tales('validation', config.seed, validationTales)
  const float32 = await evaluate(engine, network, parameters, texts)
  writeLlamaDirectory(folder, sourceOf(network, parameters), {
    dtype: 'F16',
    tokenizerJson: talesTokenizer(),
    stopIds: [END_ID],
    beginId: BEGIN_ID,
  })
  const rounded = parametersOf(openPretrained(folder).source)
  const summary: PretrainSummary = {
    finished: true,
    parameters: parameters.length,
    config,
    engine: engine.info,
    validationTales,
    float32,
    float16: await evaluate(engine, network, rounded, texts),
  }
  writeAtomic(join(folder, SUMMARY_FILE), `${JSON.stringify(summary, null, 1)}\n`)
  return summary
}
