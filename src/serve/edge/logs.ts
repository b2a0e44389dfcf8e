import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import { readCapped, sha256 } from '../../core/files.ts'
import { openDecisionLog, type DecisionLog } from '../../core/journal/decisions.ts'
import { openRequestJournal } from '../../core/journal/requests.ts'
import { LOG_VERSION } from '../../core/journal/schema.ts'
import type { Timers } from '../../core/timers.ts'
import type { ConstraintBudgets } from '../../plan/price/budgets.ts'
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../../policy/bundle/manifest.ts'
import { OBSERVATION_VERSION } from '../../policy/observation/observation.ts'
import type { OpenedSide } from '../side.ts'
import { RequestStore } from './requests.ts'

/** What a serving edge writes down: its decisions, and its requests so that a restart loses none. */
export interface EdgeLogs {
  readonly folder: string
  readonly decisions: DecisionLog
  readonly requests: RequestStore
  /** Records that could not be written. */
  readonly dropped: () => number
  close(): Promise<void>
}

interface EdgeLogOptions {
  readonly folder: string
  /** Folder of the bundle that decides, whose hash stands in the log's header. */
  readonly bundle?: string
  /** Budgets of what decides. */
  readonly budgets: ConstraintBudgets
  readonly clock: Clock
  readonly timers: Timers
  /** Hears why the disk does not take the log; serving goes on without. */
  readonly onError: (error: Error) => void
}

/** Opens both logs. Throws InputError where another process writes to the folder. */
export async function openEdgeLogs(options: EdgeLogOptions, side: OpenedSide): Promise<EdgeLogs> {
  const { folder, bundle, budgets, clock, timers, onError } = options
  const append = { clock, timers, onError }
  const { software, model } = side.greeting
  const decisions = await openDecisionLog(
    folder,
    {
      kind: 'header',
      version: LOG_VERSION,
      software,
      model: { id: model.id, fingerprint: model.fingerprint },
      observationVersion: OBSERVATION_VERSION,
      bundle: bundleHash(bundle),
      budgets,
      startedAt: clock.wallTime(),
    },
    append,
  )
  const journal = await openRequestJournal(folder, append).catch(async (error: unknown) => {
    await decisions.close()
    throw error
  })
  const weights = `${model.fingerprint} ${side.precision}`
  return {
    folder,
    decisions,
    requests: new RequestStore(journal, side.pretrained.source.model, weights),
    dropped: () => decisions.health.dropped + journal.health.dropped,
    close: async () => {
      await journal.close()
      await decisions.close()
    },
  }
}

function bundleHash(bundle: string | undefined): string | null {
  if (bundle === undefined) return null
  try {
    return sha256(readCapped(join(bundle, MANIFEST_FILE), MAX_MANIFEST_BYTES))
  } catch {
    // Why a bundle cannot be read is said where it is opened.
    return null
  }
}
