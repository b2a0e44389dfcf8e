import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import { onPath } from '../../core/fileErrors.ts'
import type { JsonlWriter, LogRecord } from './jsonl.ts'
import { openJsonl } from './jsonl.ts'
import { scalarsRecord, versionRecord } from './tensorboard.ts'

/** Writes the metrics of a training. Implement it to send them to another service. */
export interface Tracker {
  /** Results of one step: deterministic for a seed. */
  metrics(step: number, values: Scalars): void
  /** Times and rates of one step: not deterministic, so they are kept apart from metrics. */
  timings(step: number, values: Scalars): void
  /** Returns once everything given so far is on disk. */
  sync(): void
  close(): void
}

/** Null and NaN mean: not measured. */
export type Scalars = Readonly<Record<string, number | null>>

/** File of the metrics in a run folder. */
const METRICS_FILE = 'metrics.jsonl'
/** File of the timings in a run folder. */
const TIMINGS_FILE = 'timings.jsonl'

/** Options of openRunTracker. */
export interface RunTrackerOptions {
  readonly clock: Clock
  /** Resume after this step: records of later steps from before the interruption are removed. */
  readonly resumeAfterStep?: number
}

/**
 * Opens the tracker of a run folder: metrics.jsonl and timings.jsonl (append-only, safe against kill -9), and a new
 * TensorBoard event file with both each time the run is opened.
 */
export function openRunTracker(folder: string, options: RunTrackerOptions): Tracker {
  const { resumeAfterStep } = options
  const keep = (record: LogRecord): boolean =>
    resumeAfterStep === undefined || (typeof record.step === 'number' && record.step <= resumeAfterStep)
  const metrics = openJsonl(join(folder, METRICS_FILE), keep)
  const timings = openJsonl(join(folder, TIMINGS_FILE), keep)
  const events = openEvents(folder, options.clock)
  return {
    metrics(step, values) {
      log(metrics, step, values)
      events.append(step, values, '')
    },
    timings(step, values) {
      log(timings, step, values)
      events.append(step, values, 'timing/')
    },
    sync() {
      metrics.sync()
      timings.sync()
    },
    close() {
      metrics.close()
      timings.close()
      events.close()
    },
  }
}

/** Combines several trackers into one. */
export function teeTracker(trackers: readonly Tracker[]): Tracker {
  return {
    metrics: (step, values) => trackers.forEach((tracker) => tracker.metrics(step, values)),
    timings: (step, values) => trackers.forEach((tracker) => tracker.timings(step, values)),
    sync: () => trackers.forEach((tracker) => tracker.sync()),
    close: () => trackers.forEach((tracker) => tracker.close()),
  }
}

function log(writer: JsonlWriter, step: number, values: Scalars): void {
  writer.append({ step, ...values })
}

interface EventFile {
  append(step: number, values: Scalars, prefix: string): void
  close(): void
}

function openEvents(folder: string, clock: Clock): EventFile {
  const wallSeconds = (): number => Date.parse(clock.wallTime()) / 1000
  const directory = join(folder, 'tensorboard')
  mkdirSync(directory, { recursive: true })
  // TensorBoard reads a folder's files in order of name, so the time stamp puts a run's event files in order.
  const stamp = clock.wallTime().replaceAll(/[^0-9]/g, '')
  const path = join(directory, `events.out.tfevents.${stamp}.edgewise`)
  const handle = openSync(path, 'a')
  const write = (bytes: Uint8Array): number => onPath(path, () => writeSync(handle, bytes))
  write(versionRecord(wallSeconds()))
  let isOpen = true
  return {
    append(step, values, prefix) {
      const scalars: Record<string, number> = {}
      for (const [name, value] of Object.entries(values)) if (value !== null) scalars[prefix + name] = value
      write(scalarsRecord(wallSeconds(), step, scalars))
    },
    close() {
      if (isOpen) closeSync(handle)
      isOpen = false
    },
  }
}
